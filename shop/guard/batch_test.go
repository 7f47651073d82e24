package guard

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// fakeSale accepts everything, a batch in 10 ms, and notes the batches.
type fakeSale struct{ batches [][]string }

func (f *fakeSale) sell(ids []int64, gather func(map[int64]struct{}) []*item, _ func([]*item)) {
	items := gather(set(ids))
	f.batches = append(f.batches, keysOf(items))
	<-time.After(10 * time.Millisecond)
	for _, it := range items {
		it.answer(order.Receipt{OrderID: 1}, nil)
	}
}

// arrive places orders with these keys and waits until they are queued.
func arrive(t *testing.T, b *batch, answered *sync.WaitGroup, keys ...string) {
	t.Helper()
	for _, key := range keys {
		answered.Go(func() {
			if _, err := b.Place(t.Context(), buy(1, key)); err != nil {
				t.Error(key, err)
			}
		})
		synctest.Wait() // one after another, so that their order is known
	}
}

// A batch is what arrived while the last one was under way, in that order.
func TestGatherWhileCommitting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSale{}
		b := newBatch(BatchOptions{}.withDefaults(), f.sell)
		var answered sync.WaitGroup
		arrive(t, b, &answered, "a", "b", "c", "d")
		answered.Wait()
		arrive(t, b, &answered, "e")
		answered.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		want := [][]string{{"a"}, {"b", "c", "d"}, {"e"}}
		if fmt.Sprint(f.batches) != fmt.Sprint(want) {
			t.Errorf("batches %v, want %v", f.batches, want)
		}
	})
}

// Requests that are ready to run when the first order wakes the committer are
// in its batch.
func TestBatchHoldsWhoIsReady(t *testing.T) { // not parallel: it changes GOMAXPROCS
	before := runtime.GOMAXPROCS(1) // so that all of them are ready before the first one runs
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSale{}
		b := newBatch(BatchOptions{Size: 8}.withDefaults(), f.sell)
		synctest.Wait() // the committer waits
		var answered sync.WaitGroup
		for i := range 12 {
			answered.Go(func() {
				if _, err := b.Place(t.Context(), buy(1, fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			})
		}
		answered.Wait()
		_ = b.Close()
		if sizes := []int{len(f.batches[0]), len(f.batches[1])}; len(f.batches) != 2 || !slices.Equal(sizes, []int{8, 4}) {
			t.Errorf("batches %v, want one of 8 orders, which is full, and one of 4", f.batches)
		}
	})
}

func TestBatchSizeAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSale{}
		b := newBatch(BatchOptions{Size: 2, Wait: 5 * time.Millisecond}.withDefaults(), f.sell)
		var answered sync.WaitGroup
		start := time.Now()
		arrive(t, b, &answered, "a", "b", "c") // all within the wait
		answered.Wait()
		if took := time.Since(start); took != 25*time.Millisecond {
			t.Errorf("took %v, want a wait of 5 ms and two batches of 10", took)
		}
		if want := [][]string{{"a", "b"}, {"c"}}; fmt.Sprint(f.batches) != fmt.Sprint(want) {
			t.Errorf("batches %v, want %v", f.batches, want)
		}
		_ = b.Close()
	})
}

func TestBatchQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSale{}
		b := newBatch(BatchOptions{QueueCap: 2}.withDefaults(), f.sell)
		var answered sync.WaitGroup
		arrive(t, b, &answered, "selling", "b", "c")
		start := time.Now()
		_, err := b.Place(t.Context(), buy(1, "d"))
		wantKind(t, err, order.Overloaded)
		if took := time.Since(start); took != 0 {
			t.Errorf("refused after %v, want at once", took)
		}
		answered.Wait()
		_ = b.Close()
	})
}

// Close commits what waits, and nothing that was accepted is lost.
func TestBatchCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSale{}
		b := newBatch(BatchOptions{}.withDefaults(), f.sell)
		var answered sync.WaitGroup
		arrive(t, b, &answered, "a", "b", "c")
		_ = b.Close()
		answered.Wait()
		if got := slices.Concat(f.batches...); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("sold %v", got)
		}
		_, err := b.Place(t.Context(), buy(1, "late")) // else it would wait for ever
		wantKind(t, err, order.Overloaded)
	})
}

// Buyers without a user order as much as is there. They get nothing, and what
// was set aside for them goes to those behind them.
func TestStrangersTakeNoStock(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	g := s.open(t, Batch)
	product := s.product(t, 3)
	release := s.holdRow(t, product)
	var answers []<-chan answer
	ctx := within(t, patience)
	for i := range 6 {
		req := buy(product, fmt.Sprint("k", i))
		if i%2 == 0 {
			req.UserID = 1_000_000
		}
		answers = append(answers, place(ctx, g, req))
	}
	s.untilWaiting(t, 1)
	release()
	for i, c := range answers {
		a := <-c
		kind := order.KindOf(a.err)
		switch stranger := i%2 == 0; {
		case stranger && kind != order.UserNotFound && kind != order.OutOfStock: // whoever asked after the last unit was sold
			t.Errorf("stranger %d: %v", i, a.err)
		case !stranger && a.err != nil:
			t.Errorf("buyer %d: %v", i, a.err)
		}
	}
	s.wantLeft(t, product, 0, 3)
}

// openSoldOut returns a guard that remembers sold-out products for long.
func openSoldOut(t *testing.T, s *shop) Guard {
	t.Helper()
	g, err := New(t.Context(), Batch, Deps{
		Store: s.Store, Log: slog.New(slog.DiscardHandler), Batch: BatchOptions{SoldOutFor: patience},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// A product that is known to be sold out is refused without its lock, but a
// buyer who has bought still gets the order.
func TestSoldOutNeedsNoLock(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	g := openSoldOut(t, s)
	product := s.product(t, 1)
	ctx := within(t, patience)
	bought, err := g.Place(ctx, buy(product, "bought"))
	if err != nil {
		t.Fatal(err)
	}
	s.holdRow(t, product)
	_, err = g.Place(ctx, buy(product, "late"))
	wantKind(t, err, order.OutOfStock)
	again, err := g.Place(ctx, buy(product, "bought"))
	if err != nil || !again.Replayed || again.OrderID != bought.OrderID {
		t.Errorf("the buyer's key: %+v, %v", again, err)
	}
	other := buy(product, "bought")
	other.Quantity = 2
	_, err = g.Place(ctx, other)
	wantKind(t, err, order.IdempotencyConflict)
}

// behind returns a store that reaches the shop's database through a proxy.
func (s *shop) behind(t *testing.T) (*store.Store, *toxiproxy.Proxy) {
	t.Helper()
	dbURL, proxy := proxied(t, s.admin.Config().ConnString())
	db, err := store.Open(t.Context(), store.Config{URL: dbURL, AppName: s.name, MaxConns: 2, RequestTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db, proxy
}

// TestLostCommit breaks the connection between the lock and the answer of
// COMMIT, in every way, and checks that each buyer is told the truth.
func TestLostCommit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		toxic  string     // "" kills the session instead
		mend   bool       // the connection for the look-up lives
		orders int64      // in the database, in the end
		kind   order.Kind // 0: accepted
		found  string
	}{
		{"the answer is lost", `"stream":"downstream"`, true, 2, 0, "committed"},
		{"the session is killed before", "", true, 0, order.Overloaded, "rolled_back"},
		{"nothing gets through any more", `"stream":"downstream"`, false, 2, order.Timeout, "unknown"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 1)
			db, proxy := s.behind(t)
			seller := newSeller(Deps{Store: db, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
			product := s.product(t, 6)
			// One order before, so that all statements are prepared.
			first := ask("first", product, 1)
			seller.sell([]int64{product}, func(map[int64]struct{}) []*item { return []*item{first} }, nothingBack(t))
			if first.err != nil {
				t.Fatal(first.err)
			}
			items := []*item{ask("a", product, 1), ask("b", product, 1)}
			seller.sell([]int64{product}, func(map[int64]struct{}) []*item {
				// The lock is held, COMMIT is next.
				session := s.count(t, `SELECT pid::bigint FROM pg_stat_activity
					WHERE application_name = $1 AND datname = current_database() AND state = 'idle in transaction'`, s.name)
				if tc.toxic == "" {
					s.count(t, `SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()`, s.name)
					return items
				}
				toxic := `{"name":"cut","type":"limit_data",` + tc.toxic + `,"attributes":{"bytes":0}}`
				if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
					t.Error(err)
				}
				if tc.mend {
					// Only the connection that exists now is cut. Its session ends when it
					// is; one that is merely idle may still have its answer under way.
					go func() {
						until(t, "the session ends", func() bool {
							return s.count(t, `SELECT count(*) FROM pg_stat_activity WHERE pid = $1::bigint`, session) == 0
						})
						if err := proxy.Toxics.RemoveToxic(context.Background(), "cut"); err != nil {
							t.Error(err)
						}
					}()
				}
				return items
			}, nothingBack(t))
			for _, it := range items {
				if len(it.done) != 1 {
					t.Fatalf("%s was answered %d times", it.req.Key, len(it.done))
				}
				if tc.kind == 0 {
					if it.err != nil || it.receipt.OrderID == 0 {
						t.Errorf("%s: %+v, %v; want the order", it.req.Key, it.receipt, it.err)
					}
				} else {
					wantKind(t, it.err, tc.kind)
				}
			}
			s.wantLeft(t, product, 5-tc.orders, 1+tc.orders)
			if n := testutil.ToFloat64(seller.lost.WithLabelValues(tc.found)); n != 1 {
				t.Errorf("counted %v times as %s", n, tc.found)
			}
		})
	}
}

// nothingBack fails the test when orders are put back.
func nothingBack(t *testing.T) func([]*item) {
	return func(back []*item) {
		if len(back) > 0 {
			t.Errorf("%v come again", keysOf(back))
		}
	}
}

// Sessions are killed while many buy: who was accepted has an order, who was
// refused has none, and nobody has two.
func TestKilledSessions(t *testing.T) {
	t.Parallel()
	s := newShop(t, 4)
	g := s.open(t, Batch)
	product := s.product(t, 1_000_000)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stop := make(chan struct{})
	var mu sync.Mutex
	told := map[string]answer{}
	var buyers sync.WaitGroup
	for i := range 32 {
		buyers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprint(i, "-", n)
				r, err := g.Place(ctx, buy(product, key))
				mu.Lock()
				told[key] = answer{r, err}
				mu.Unlock()
			}
		})
	}
	sold := func() int64 { return s.count(t, `SELECT count(*) FROM orders`) }
	for killed, before := int64(0), int64(0); killed < 20; {
		until(t, "more is sold", func() bool { return sold() > before })
		before = sold()
		killed += s.count(t, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = $1 AND state <> 'idle'`, s.name)
	}
	close(stop)
	buyers.Wait()
	rows, err := s.admin.Query(t.Context(), `SELECT idempotency_key, id FROM orders WHERE product_id = $1`, product)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var units int64
	for rows.Next() {
		var key string
		var id int64
		if err := rows.Scan(&key, &id); err != nil {
			t.Fatal(err)
		}
		units++
		a, asked := told[key]
		delete(told, key)
		switch kind := order.KindOf(a.err); {
		case !asked:
			t.Errorf("order %d has key %s, which nobody sent", id, key)
		case a.err == nil && a.receipt.OrderID != id:
			t.Errorf("key %s: told order %d, the database has %d", key, a.receipt.OrderID, id)
		case a.err != nil && kind != order.Timeout:
			t.Errorf("key %s has order %d, but was told %v", key, id, a.err)
		}
	}
	for key, a := range told {
		if a.err == nil {
			t.Errorf("key %s was accepted as order %d, which does not exist", key, a.receipt.OrderID)
		}
	}
	if units == 0 {
		t.Error("nothing was sold")
	}
	s.wantLeft(t, product, 1_000_000-units, units)
}

// No statement of guard batch may scan orders, also when it was planned while
// the table was empty: its cost would grow with every order.
func TestBatchNeverScansOrders(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	g := openSoldOut(t, s)
	ctx := within(t, patience)
	const each = 20
	for range 3 { // accepted, refused under the lock, refused without it, replayed
		product := s.product(t, each)
		for i := range 2 * each {
			_, err := g.Place(ctx, buy(product, fmt.Sprint(product, "-", i)))
			if i < each && err != nil {
				t.Fatal(err)
			}
		}
		if r, err := g.Place(ctx, buy(product, fmt.Sprint(product, "-", 0))); err != nil || !r.Replayed {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	s.Close() // a session reports its figures when it ends
	until(t, "the figures of all sessions arrive", func() bool {
		return s.count(t, `SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'orders'`) == 3*each
	})
	if read := s.count(t, `SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'orders'`); read != 0 {
		t.Errorf("%d rows of orders were read by scans", read)
	}
}

// BenchmarkCommitter is the cost of one order in queue, committer and answer,
// without a database.
func BenchmarkCommitter(b *testing.B) {
	sale := newBatch(BatchOptions{}.withDefaults(), func(ids []int64, gather func(map[int64]struct{}) []*item, _ func([]*item)) {
		for _, it := range gather(set(ids)) {
			it.answer(order.Receipt{OrderID: 1}, nil)
		}
	})
	req := buy(1, "key")
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := sale.Place(context.Background(), req); err != nil {
				b.Error(err)
				return
			}
		}
	})
	_ = sale.Close()
}
