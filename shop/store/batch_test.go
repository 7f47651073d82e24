package store

import (
	"context"
	"testing"

	"example.com/flashsale/shop/order"
)

// row is a new order of user for one unit at 10 cents.
func row(user, product int64, key string) NewOrder {
	hash := order.Request{UserID: user, ProductID: product, Quantity: 1}.Hash()
	return NewOrder{UserID: user, ProductID: product, Quantity: 1, TotalCents: 10, Key: key, Hash: hash[:]}
}

// lock begins a batch for these products. It is released at the end of the
// test, if the test has not done so.
func (s *shop) lock(t *testing.T, products ...int64) (*BatchTx, map[int64]order.Product) {
	t.Helper()
	tx, found, err := s.LockProducts(t.Context(), products)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Release(context.Background()) })
	return tx, found
}

func TestBatchSells(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 1})
	ctx := t.Context()
	p, q := s.product(t, 5, 10), s.product(t, 7, 10)
	if _, err := s.Take(ctx, buy(q, "earlier")); err != nil {
		t.Fatal(err)
	}
	tx, products := s.lock(t, q, p, q+1)
	if len(products) != 2 || products[p].Stock != 5 || products[q].Stock != 6 || products[p].PriceCents != 10 {
		t.Errorf("locked %+v", products)
	}
	orders := []NewOrder{row(3, p, "c"), row(1, p, "a"), row(2, q, "b"), row(10_001, p, "stranger")}
	receipts, past, err := tx.Commit(ctx, orders, []string{"earlier", "never"})
	tx.Release(ctx)
	if err != nil || len(receipts) != len(orders) || len(past) != 1 {
		t.Fatalf("Commit() = %+v, %+v, %v", receipts, past, err)
	}
	for i, r := range receipts[:3] {
		if r.Status != order.StatusCreated || r.CreatedAt.IsZero() || r.TotalCents != 10 {
			t.Errorf("%s: %+v", orders[i].Key, r)
		}
		if id := query[int64](t, s.admin, `SELECT id FROM orders WHERE idempotency_key = $1`, orders[i].Key); id != r.OrderID {
			t.Errorf("%s: the receipt has order %d, the database %d", orders[i].Key, r.OrderID, id)
		}
	}
	if receipts[3].OrderID != 0 {
		t.Errorf("an unknown user got %+v", receipts[3])
	}
	hash := buy(q, "").Hash()
	if earlier := past["earlier"]; earlier.Receipt.TotalCents != 10 || earlier.Hash != string(hash[:]) {
		t.Errorf("earlier: %+v", earlier)
	}
	s.wantLeft(t, p, 3, 2)
	s.wantLeft(t, q, 5, 2)
}

// TestBatchKeyTaken: nothing of the batch is written.
func TestBatchKeyTaken(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 1})
	ctx := t.Context()
	p := s.product(t, 5, 10)
	if _, err := s.Take(ctx, buy(p, "k")); err != nil {
		t.Fatal(err)
	}
	tx, _ := s.lock(t, p)
	_, _, err := tx.Commit(ctx, []NewOrder{row(1, p, "a"), row(1, p, "k")}, nil)
	wantKind(t, err, order.DuplicateKey)
	tx.Release(ctx)
	if n := s.sessions(t, openTransactions); n != 0 {
		t.Errorf("%d transactions stayed open", n)
	}
	s.wantLeft(t, p, 4, 1)
}

// TestBatchWaitsForTheLocks: in the time of its context, and holds none
// afterwards.
func TestBatchWaitsForTheLocks(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 1})
	p, q := s.product(t, 5, 10), s.product(t, 5, 10)
	release := s.holdRow(t, q)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, _, err := s.LockProducts(ctx, []int64{q, p})
		failed <- err
	}()
	until(t, "the batch waits for a row", func() bool { return s.sessions(t, `wait_event_type = 'Lock'`) == 1 })
	cancel()
	wantKind(t, <-failed, order.Timeout)
	if n := s.sessions(t, openTransactions); n != 0 {
		t.Errorf("%d transactions stayed open", n)
	}
	s.holdRow(t, p)()
	release()
	tx, products := s.lock(t, p, q)
	if len(products) != 2 {
		t.Errorf("locked %+v", products)
	}
	tx.Release(t.Context())
}

func TestBatchNoConnection(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 1})
	p := s.product(t, 5, 10)
	defer s.begin(t).Release(t.Context())
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := s.LockProducts(over, []int64{p})
	wantKind(t, err, order.Overloaded)
	_, err = s.PastOrders(over, []string{"k"})
	wantKind(t, err, order.Timeout)
	_, err = s.Outcome(over, []int64{p}, []string{"k"})
	wantKind(t, err, order.Overloaded)
}

// TestBatchNotAnswered: the server committed, but nobody heard. That is a
// Timeout, and Outcome finds the orders.
func TestBatchNotAnswered(t *testing.T) {
	t.Parallel()
	s, proxy := behind(t, Config{MaxConns: 1})
	ctx := t.Context()
	p := s.product(t, 5, 10)
	for _, key := range []string{"warm-up", "k"} { // the statements are prepared by the second one
		tx, _ := s.lock(t, p)
		if key == "k" {
			proxy.cutAnswers(t)
		}
		_, _, err := tx.Commit(ctx, []NewOrder{row(1, p, key)}, nil)
		tx.Release(ctx)
		if key == "k" {
			wantKind(t, err, order.Timeout)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	proxy.mend(t)
	found, err := s.Outcome(ctx, []int64{p}, []string{"k", "never"})
	if err != nil || len(found) != 1 || found["k"].Receipt.OrderID == 0 {
		t.Errorf("Outcome() = %+v, %v, want the order", found, err)
	}
	s.wantLeft(t, p, 3, 2)
}

// TestBatchNotSent: likewise, but the batch never arrived.
func TestBatchNotSent(t *testing.T) {
	t.Parallel()
	s, proxy := behind(t, Config{MaxConns: 1})
	ctx := t.Context()
	p := s.product(t, 5, 10)
	tx, _ := s.lock(t, p)
	proxy.cutRequests(t)
	_, _, err := tx.Commit(ctx, []NewOrder{row(1, p, "k")}, nil)
	wantOneOf(t, err, order.Timeout, order.Overloaded)
	tx.Release(ctx)
	proxy.mend(t)
	if found, err := s.Outcome(ctx, []int64{p}, []string{"k"}); err != nil || len(found) != 0 {
		t.Errorf("Outcome() = %+v, %v, want nothing", found, err)
	}
	s.wantLeft(t, p, 5, 0)
}

// TestBatchIgnoresTheRequest: COMMIT is sent, whoever still waits.
func TestBatchIgnoresTheRequest(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 1})
	p := s.product(t, 5, 10)
	tx, _ := s.lock(t, p)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	placed, _, err := tx.Commit(over, []NewOrder{row(1, p, "k")}, nil)
	if err != nil || len(placed) != 1 {
		t.Errorf("Commit() = %+v, %v", placed, err)
	}
	tx.Release(over)
	s.wantLeft(t, p, 4, 1)
}

func TestPastOrders(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	p := s.product(t, 5, 10)
	r, err := s.Take(t.Context(), buy(p, "k"))
	if err != nil {
		t.Fatal(err)
	}
	past, err := s.PastOrders(t.Context(), []string{"k", "never"})
	if got := past["k"].Receipt; err != nil || len(past) != 1 || got.OrderID != r.OrderID || got.TotalCents != 10 ||
		got.Status != order.StatusCreated || !got.CreatedAt.Equal(r.CreatedAt) {
		t.Errorf("PastOrders() = %+v, %v", past, err)
	}
}
