package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"example.com/flashsale/shop/order"
)

func TestSessionSettings(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	for name, tt := range map[string]struct {
		timeout               time.Duration
		lock, statement, idle string
	}{
		"set":     {300 * time.Millisecond, "300ms", "800ms", "600ms"},
		"default": {0, "2s", "2500ms", "4s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Open(t.Context(), Config{URL: url, AppName: "stage0-" + name, MaxConns: 3, RequestTimeout: tt.timeout})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for setting, want := range map[string]string{
				"application_name": "stage0-" + name, "lock_timeout": tt.lock, "statement_timeout": tt.statement,
				"idle_in_transaction_session_timeout": tt.idle,
			} {
				if got := query[string](t, s.pool, `SELECT current_setting($1)`, setting); got != want {
					t.Errorf("%s = %q, want %q", setting, got, want)
				}
			}
			if got := query[int64](t, s.pool, `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND pid = pg_backend_pid()`, "stage0-"+name); got != 1 {
				t.Error("pg_stat_activity does not show the name")
			}
			if got := query[string](t, s.pool, `SELECT source FROM pg_settings WHERE name = 'synchronous_commit'`); got == "client" || got == "session" {
				t.Error("the store sets synchronous_commit: durability is the server's business")
			}
		})
	}
}

func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	for configured, want := range map[int]int32{-1: 1, 0: 1, 1: 1, 5: 5, 1 << 40: 1 << 15} {
		s, err := Open(t.Context(), Config{URL: url, MaxConns: configured})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.pool.Config().MaxConns; got != want {
			t.Errorf("MaxConns %d: a pool of %d, want %d", configured, got, want)
		}
		s.Close()
	}
}

func TestCloseWaitsForConnectionsInUse(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	p := s.product(t, 1, 10)
	tx := s.begin(t)
	if _, err := tx.Product(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { defer close(closed); s.Close() }()
	until(t, "the pool refuses", func() bool { return s.Ping(t.Context()) != nil })
	select {
	case <-closed:
		t.Error("Close returned while a transaction was open")
	default:
	}
	tx.Release(t.Context())
	<-closed
	if n := s.sessions(t, `application_name = 'store-test'`); n != 0 {
		until(t, "the sessions end", func() bool { return s.sessions(t, `application_name = 'store-test'`) == 0 })
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	ctx := t.Context()
	p := s.product(t, 5, 1999)
	receipt, err := s.Take(ctx, order.Request{UserID: 42, ProductID: p, Quantity: 2, Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(ctx); err != nil {
		t.Error(err)
	}
	if err := s.User(ctx, 10_000); err != nil {
		t.Error(err)
	}
	wantKind(t, s.User(ctx, 10_001), order.UserNotFound)

	found, err := s.Users(ctx, []int64{5, 10_001, 1, 5})
	if ids := slices.Sorted(maps.Keys(found)); err != nil || !slices.Equal(ids, []int64{1, 5}) {
		t.Errorf("Users() = %v, %v, want 1 and 5", ids, err)
	}
	if found, err := s.Users(ctx, nil); err != nil || len(found) != 0 {
		t.Errorf("Users(none) = %v, %v", found, err)
	}

	q := s.product(t, 0, 5)
	products, err := s.Products(ctx, []int64{q, p, q + 1, p})
	if err != nil || len(products) != 2 || products[p].Stock != 3 || products[q] != (order.Product{ID: q, Name: "test", PriceCents: 5}) {
		t.Errorf("Products() = %+v, %v", products, err)
	}
	if products, err := s.Products(ctx, nil); err != nil || len(products) != 0 {
		t.Errorf("Products(none) = %v, %v", products, err)
	}

	product, err := s.Product(ctx, p)
	if want := (order.Product{ID: p, Name: "test", PriceCents: 1999, Stock: 3}); err != nil || product != want {
		t.Errorf("Product() = %+v, %v, want %+v", product, err, want)
	}
	_, err = s.Product(ctx, q+1)
	wantKind(t, err, order.ProductNotFound)

	o, err := s.Order(ctx, receipt.OrderID)
	want := order.Order{
		ID: receipt.OrderID, UserID: 42, ProductID: p, Quantity: 2, TotalCents: 3998,
		Status: order.StatusCreated, CreatedAt: receipt.CreatedAt,
	}
	if !o.CreatedAt.Equal(want.CreatedAt) {
		t.Errorf("created at %v, the receipt said %v", o.CreatedAt, want.CreatedAt)
	}
	o.CreatedAt = want.CreatedAt
	if err != nil || o != want {
		t.Errorf("Order() = %+v, %v, want %+v", o, err, want)
	}
	_, err = s.Order(ctx, receipt.OrderID+1)
	wantKind(t, err, order.OrderNotFound)
}

// TestReadsWhenTheTimeIsOver: every read says Timeout, none hangs.
func TestReadsWhenTheTimeIsOver(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	wantKind(t, s.User(over, 1), order.Timeout)
	_, err := s.Users(over, []int64{1})
	wantKind(t, err, order.Timeout)
	_, err = s.Products(over, []int64{1})
	wantKind(t, err, order.Timeout)
	_, err = s.Product(over, 1)
	wantKind(t, err, order.Timeout)
	_, err = s.Order(over, 1)
	wantKind(t, err, order.Timeout)
	_, _, err = s.Replay(over, buy(1, "k"))
	wantKind(t, err, order.Timeout)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	ctx := t.Context()
	p := s.product(t, 5, 1999)
	req := order.Request{UserID: 42, ProductID: p, Quantity: 2, PriceCents: 1999, Key: "k"}
	if r, found, err := s.Replay(ctx, req); found || err != nil {
		t.Fatalf("Replay() = %+v, %v, %v before there is an order", r, found, err)
	}
	placed, err := s.Take(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	again, found, err := s.Replay(ctx, req)
	if err != nil || !found {
		t.Fatalf("Replay() = %v, %v", found, err)
	}
	if !again.Replayed || again.OrderID != placed.OrderID || again.TotalCents != placed.TotalCents ||
		again.Status != order.StatusCreated || !again.CreatedAt.Equal(placed.CreatedAt) {
		t.Errorf("Replay() = %+v, want %+v, replayed", again, placed)
	}
	for name, change := range map[string]func(*order.Request){
		"user":     func(r *order.Request) { r.UserID++ },
		"product":  func(r *order.Request) { r.ProductID++ },
		"quantity": func(r *order.Request) { r.Quantity++ },
		"price":    func(r *order.Request) { r.PriceCents++ },
		"no price": func(r *order.Request) { r.PriceCents = 0 },
	} {
		other := req
		change(&other)
		_, found, err := s.Replay(ctx, other)
		if !found {
			t.Errorf("another %s: not found", name)
		}
		wantKind(t, err, order.IdempotencyConflict)
	}
	other := req
	other.Key = "K" // keys are told apart by case
	if _, found, err := s.Replay(ctx, other); found || err != nil {
		t.Errorf("another key: %v, %v", found, err)
	}
}

// TestPoolIsShared: a store of two connections serves many at once.
func TestPoolIsShared(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 2})
	errs := make(chan error, 50)
	for range cap(errs) {
		go func() { errs <- s.User(t.Context(), 1) }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := s.pool.Stat().TotalConns(); n > 2 {
		t.Errorf("%d connections, want at most 2", n)
	}
}

func TestNoConnectionInTime(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 2})
	p := s.product(t, 1, 10)
	a, b := s.begin(t), s.begin(t)
	defer a.Release(t.Context())
	start := time.Now()
	_, err := s.Begin(shortly(t, 50*time.Millisecond))
	wantKind(t, err, order.Overloaded)
	_, err = s.Take(shortly(t, 50*time.Millisecond), buy(p, "k"))
	wantKind(t, err, order.Overloaded)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > patience {
		t.Errorf("%v after %v, want the deadline's error", err, time.Since(start))
	}
	b.Release(t.Context())
	if _, err := s.Take(t.Context(), buy(p, "k")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	s.wantLeft(t, p, 0, 1)
}
