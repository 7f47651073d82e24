package store

import (
	"context"
	"testing"
	"time"

	"example.com/flashsale/shop/order"
)

const openTransactions = `application_name = 'store-test' AND (xact_start IS NOT NULL OR state LIKE 'idle in transaction%')`

// sell does the four steps of an order and returns its receipt.
func sell(t *testing.T, tx *Tx, req order.Request) order.Receipt {
	t.Helper()
	ctx := t.Context()
	product, err := tx.LockProduct(ctx, req.ProductID)
	if err != nil {
		t.Fatal(err)
	}
	r, err := tx.Write(ctx, req, product, product.Stock-req.Quantity)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTxSells(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 1})
	p := s.product(t, 5, 1999)
	req := order.Request{UserID: 42, ProductID: p, Quantity: 2, Key: "k"}
	tx := s.begin(t)
	r := sell(t, tx, req)
	tx.Rollback(t.Context()) // does nothing after Commit
	tx.Release(t.Context())
	if r.Status != order.StatusCreated || r.TotalCents != 3998 {
		t.Errorf("receipt %+v", r)
	}
	s.wantStored(t, r, req)
	s.wantLeft(t, p, 3, 1)

	tx = s.begin(t) // the connection can be used again
	sell(t, tx, buy(p, "k2"))
	tx.Release(t.Context())
	s.wantLeft(t, p, 2, 2)
}

func TestTxAtTheBounds(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	p := s.product(t, order.MaxQuantity, order.MaxPriceCents)
	tx := s.begin(t)
	defer tx.Release(t.Context())
	r := sell(t, tx, order.Request{UserID: 1, ProductID: p, Quantity: order.MaxQuantity, PriceCents: order.MaxPriceCents, Key: "k"})
	if r.TotalCents != order.MaxQuantity*order.MaxPriceCents {
		t.Errorf("total %d, want %d", r.TotalCents, int64(order.MaxQuantity*order.MaxPriceCents))
	}
}

func TestTxProductNotFound(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	for name, read := range map[string]func(*Tx, context.Context, int64) (order.Product, error){
		"Product": (*Tx).Product, "LockProduct": (*Tx).LockProduct,
	} {
		tx := s.begin(t)
		_, err := read(tx, t.Context(), 999)
		wantKind(t, err, order.ProductNotFound)
		tx.Release(t.Context())
		if n := s.sessions(t, openTransactions); n != 0 {
			t.Errorf("%s: %d transactions stayed open", name, n)
		}
	}
}

// TestTxKeyTaken: the whole order is rolled back, stock too, and a COMMIT
// nonetheless is not taken for one.
func TestTxKeyTaken(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	ctx := t.Context()
	p := s.product(t, 5, 10)
	if _, err := s.Take(ctx, buy(p, "k")); err != nil {
		t.Fatal(err)
	}
	tx := s.begin(t)
	product, err := tx.Product(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.Write(ctx, buy(p, "k"), product, 3)
	wantKind(t, err, order.DuplicateKey)
	wantKind(t, tx.Commit(ctx), order.Internal)
	tx.Release(ctx)
	s.wantLeft(t, p, 4, 1)
}

// TestLockProductHoldsTheRow: a second one waits, a plain read does not.
func TestLockProductHoldsTheRow(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 3})
	p := s.product(t, 5, 10)
	first := s.begin(t)
	if _, err := first.LockProduct(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	reader := s.begin(t)
	if product, err := reader.Product(t.Context(), p); err != nil || product.Stock != 5 {
		t.Errorf("a reader: %+v, %v", product, err)
	}
	reader.Release(t.Context())
	stock := make(chan int64, 1)
	second := s.begin(t)
	go func() {
		product, err := second.LockProduct(t.Context(), p)
		if err != nil {
			t.Error(err)
		}
		stock <- product.Stock
	}()
	until(t, "the second waits", func() bool { return s.sessions(t, `wait_event_type = 'Lock'`) == 1 })
	sellLocked(t, first, buy(p, "k"))
	first.Release(t.Context())
	if got := <-stock; got != 4 {
		t.Errorf("the second read %d, want 4: what the first left", got)
	}
	second.Release(t.Context())
}

// sellLocked writes and commits in a transaction that has read a stock of 5.
func sellLocked(t *testing.T, tx *Tx, req order.Request) {
	t.Helper()
	_, err := tx.Write(t.Context(), req, order.Product{ID: req.ProductID, PriceCents: 10, Stock: 5}, 5-req.Quantity)
	if err == nil {
		err = tx.Commit(t.Context())
	}
	if err != nil {
		t.Error(err)
	}
}

// TestNoTransactionStaysOpen: however far an order came, and although its
// context has ended, Rollback and Release leave nothing behind.
func TestNoTransactionStaysOpen(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 1})
	for name, steps := range map[string]int{"begun": 0, "read": 1, "written": 2} {
		for end, finish := range map[string]func(*Tx, context.Context){
			"Release":              (*Tx).Release,
			"Rollback and Release": func(tx *Tx, ctx context.Context) { tx.Rollback(ctx); tx.Release(ctx) },
		} {
			t.Run(name+", "+end, func(t *testing.T) {
				p := s.product(t, 5, 10)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				tx := s.begin(t)
				before := tx.conn.Conn().PgConn().PID()
				var product order.Product
				var err error
				if steps > 0 {
					product, err = tx.LockProduct(ctx, p)
				}
				if steps > 1 && err == nil {
					_, err = tx.Write(ctx, buy(p, "k"), product, 4)
				}
				if err != nil {
					t.Fatal(err)
				}
				cancel()
				finish(tx, ctx)
				if n := s.sessions(t, openTransactions); n != 0 {
					t.Errorf("%d transactions stayed open", n)
				}
				if after := query[int32](t, s.pool, `SELECT pg_backend_pid()`); after != int32(before) {
					t.Error("the connection was thrown away")
				}
				s.wantLeft(t, p, 5, 0)
			})
		}
	}
}

func TestRollbackAllowsAnotherOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 1})
	p := s.product(t, 5, 10)
	tx := s.begin(t)
	product, err := tx.Product(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Write(t.Context(), buy(p, "k"), product, 0); err != nil {
		t.Fatal(err)
	}
	tx.Rollback(t.Context())
	sell(t, tx, buy(p, "k"))
	tx.Release(t.Context())
	s.wantLeft(t, p, 4, 1)
}

// TestCommitIgnoresTheRequest: the buyer is gone, the order stands.
func TestCommitIgnoresTheRequest(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	p := s.product(t, 5, 10)
	ctx, cancel := context.WithCancel(t.Context())
	tx := s.begin(t)
	product, err := tx.Product(ctx, p)
	if err == nil {
		_, err = tx.Write(ctx, buy(p, "k"), product, 4)
	}
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := tx.Commit(ctx); err != nil {
		t.Errorf("Commit() = %v", err)
	}
	tx.Release(ctx)
	s.wantLeft(t, p, 4, 1)
}

// TestBrokenConnectionIsDropped: a ROLLBACK that gets no answer, for instance
// because the connection was cut, closes it.
func TestBrokenConnectionIsDropped(t *testing.T) {
	t.Parallel()
	s, proxy := behind(t, Config{MaxConns: 1})
	p := s.product(t, 5, 10)
	tx := s.begin(t)
	if _, err := tx.LockProduct(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	proxy.cutRequests(t)
	tx.Release(t.Context())
	proxy.mend(t)
	tx = s.begin(t)
	sell(t, tx, buy(p, "k")) // does not wait for the row: the server rolled back
	tx.Release(t.Context())
	s.wantLeft(t, p, 4, 1)
}

// TestIdleInTransaction: a process that stopped inside an order cannot hold a
// row for ever; the server ends its session.
func TestIdleInTransaction(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 1, RequestTimeout: 400 * time.Millisecond})
	p := s.product(t, 5, 10)
	for _, last := range []string{"write", "commit"} {
		tx := s.begin(t)
		product, err := tx.LockProduct(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the server ends the session", func() bool { return s.sessions(t, `application_name = 'store-test'`) == 0 })
		if last == "write" {
			_, err = tx.Write(t.Context(), buy(p, "k"), product, 4)
			wantKind(t, err, order.Overloaded)
		} else {
			wantOneOf(t, tx.Commit(t.Context()), order.Timeout, order.Overloaded)
		}
		tx.Release(t.Context())
	}
	s.holdRow(t, p)() // the row is free
	if _, err := s.Take(t.Context(), buy(p, "k")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	s.wantLeft(t, p, 4, 1)
}
