package database

import (
	"context"
	"testing"
	"time"
)

func TestSalesWatch(t *testing.T) {
	t.Parallel()
	db, stage := open(t, schema)
	before := newProduct(t, db, 9)
	sell(t, stage, before, "before")
	p, other := newProduct(t, db, 2), newProduct(t, db, 1)
	watch := db.WatchSales([]Product{p, other})
	defer watch.Close()
	expect := func(count bool, want Stock) {
		t.Helper()
		got, err := watch.Read(t.Context(), count)
		if err != nil || got != want {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
	}
	expect(true, Stock{Left: 3, Counted: true})
	sell(t, stage, p, "a")
	expect(false, Stock{Left: 2})
	expect(true, Stock{Left: 2, Counted: true, Sold: 1})
	sell(t, stage, p, "b")
	// A lost update: an order without its unit. A cancelled one is none.
	execute(t, stage, `INSERT INTO orders (user_id, product_id, quantity, total_cents, status, idempotency_key)
		VALUES (1, $1, 3, 500, 'created', 'c'), (1, $1, 7, 500, 'cancelled', 'd')`, p.ID)
	expect(true, Stock{Left: 1, Counted: true, Sold: 5, Oversold: 3})
	watch.settleAfter = 0 // from now on everything has settled
	watch.chunk = 1
	sell(t, stage, other, "e")
	expect(true, Stock{Left: 0, Counted: true, Sold: 6, Oversold: 3})
	if watch.upTo == 0 || watch.settled[p.ID] != 5 || watch.settled[other.ID] != 1 {
		t.Errorf("remembered %v up to %d", watch.settled, watch.upTo)
	}
	expect(true, Stock{Left: 0, Counted: true, Sold: 6, Oversold: 3})

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := watch.Read(ended, true); err == nil {
		t.Error("no error although the time was up")
	}
	expect(true, Stock{Left: 0, Counted: true, Sold: 6, Oversold: 3})
}

func TestSalesWatchCatchesUp(t *testing.T) {
	t.Parallel()
	db, stage := open(t, schema)
	p := newProduct(t, db, 100)
	execute(t, stage, `INSERT INTO orders (user_id, product_id, quantity, total_cents, status, idempotency_key)
		SELECT 1, $1, 1, 250, 'created', i FROM generate_series(1, 12) AS i`, p.ID)
	watch := db.WatchSales([]Product{p})
	defer watch.Close()
	watch.settleAfter, watch.chunk = 0, 1
	for i := 1; ; i++ {
		got, err := watch.Read(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Counted {
			continue
		}
		if i != 3 || got.Sold != 12 {
			t.Errorf("call %d: %+v; want 12 units in the third call, with five orders in each", i, got)
		}
		break
	}
}

func TestSalesMarks(t *testing.T) {
	w := &SalesWatch{settleAfter: 5 * time.Second}
	start := time.Now()
	for i, want := range []int64{0, 0, 0, 0, 0, 100, 101, 102} {
		if got := w.mark(start.Add(time.Duration(i)*time.Second), int64(100+i)); got != want {
			t.Errorf("after %d s orders up to %d have settled, not %d", i, got, want)
		}
	}
	if len(w.marks) > 6 {
		t.Errorf("%d marks are kept", len(w.marks))
	}
}
