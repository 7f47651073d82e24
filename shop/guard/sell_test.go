package guard

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"example.com/flashsale/shop/order"
)

// safeGuards are those that must hold with many orders at once in one process.
func safeGuards() []string {
	var names []string
	for _, name := range Names() {
		if Expected(name, 1, 64) == Safe {
			names = append(names, name)
		}
	}
	return names
}

// TestSafeGuards sells in every way with each guard.
func TestSafeGuards(t *testing.T) {
	t.Parallel()
	for _, name := range safeGuards() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 8)
			g := s.open(t, name)
			t.Run("one order", func(t *testing.T) { testOneOrder(t, s, g) })
			t.Run("crowd", func(t *testing.T) { testCrowd(t, s, g) })
			t.Run("last unit", func(t *testing.T) { testLastUnit(t, s, g) })
			t.Run("several units each", func(t *testing.T) { testSeveralUnits(t, s, g) })
			t.Run("two products", func(t *testing.T) { testTwoProducts(t, s, g) })
			t.Run("raced retries", func(t *testing.T) { testRacedRetries(t, s, g, 5) })
			t.Run("raced retries of the last unit", func(t *testing.T) { testRacedRetries(t, s, g, 1) })
			t.Run("refusals", func(t *testing.T) { testRefusals(t, s, g) })
			t.Run("sold out, but bought before", func(t *testing.T) { testReplaySoldOut(t, s, g) })
			t.Run("too late", func(t *testing.T) { testTooLate(t, s, g) })
		})
	}
}

// TestOneConnection: many buyers share one connection, and nobody waits for
// ever: who holds a lock never waits for a connection.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	for _, name := range safeGuards() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 1)
			testCrowd(t, s, s.open(t, name))
		})
	}
}

// once places an order as every model does.
func once(ctx context.Context, s *shop, g Guard, req order.Request) (order.Receipt, error) {
	return Once(ctx, s.Store, req, g.Place)
}

// patient places an order as a client does: it comes again when it is told to,
// which promises that nothing was written. On a busy machine a lock may expire.
func patient(ctx context.Context, s *shop, g Guard, req order.Request) (order.Receipt, error) {
	for {
		r, err := once(ctx, s, g, req)
		if order.KindOf(err) != order.Overloaded || ctx.Err() != nil {
			return r, err
		}
	}
}

// race places all orders at once and returns what became of them.
func race(t *testing.T, s *shop, g Guard, reqs []order.Request) []answer {
	t.Helper()
	ctx := within(t, patience)
	answers := make([]answer, len(reqs))
	start := make(chan struct{})
	var all sync.WaitGroup
	for i, req := range reqs {
		all.Go(func() {
			<-start
			r, err := patient(ctx, s, g, req)
			answers[i] = answer{r, err}
		})
	}
	close(start)
	all.Wait()
	return answers
}

// crowd is n orders of different users and keys.
func crowd(product int64, n int, quantity int64) []order.Request {
	reqs := make([]order.Request, n)
	for i := range reqs {
		reqs[i] = order.Request{UserID: int64(i + 1), ProductID: product, Quantity: quantity, Key: fmt.Sprint(product, "-", i)}
	}
	return reqs
}

// wantSold checks that so many were accepted, each with an order of its own,
// and all others told out_of_stock.
func wantSold(t *testing.T, answers []answer, want int) {
	t.Helper()
	ids := map[int64]bool{}
	for i, a := range answers {
		switch {
		case a.err == nil && !a.receipt.Replayed:
			ids[a.receipt.OrderID] = true
		case order.KindOf(a.err) != order.OutOfStock:
			t.Errorf("buyer %d: %+v, %v, want an order or out_of_stock", i, a.receipt, a.err)
		}
	}
	if len(ids) != want {
		t.Errorf("%d orders, want %d", len(ids), want)
	}
}

func testOneOrder(t *testing.T, s *shop, g Guard) {
	p := s.product(t, 5)
	req := order.Request{UserID: 42, ProductID: p, Quantity: 2, PriceCents: 10, Key: fmt.Sprint(p)}
	r, err := once(t.Context(), s, g, req)
	if err != nil {
		t.Fatal(err)
	}
	if r.OrderID <= 0 || r.Status != order.StatusCreated || r.TotalCents != 20 || r.CreatedAt.IsZero() || r.Replayed {
		t.Errorf("receipt %+v", r)
	}
	s.wantLeft(t, p, 3, 1)
	hash := req.Hash()
	if n := s.count(t, `SELECT count(*) FROM orders WHERE id = $1 AND user_id = 42 AND quantity = 2 AND total_cents = 20
		AND status = 'created' AND idempotency_key = $2 AND request_hash = $3 AND created_at = $4`, r.OrderID, req.Key, hash[:], r.CreatedAt); n != 1 {
		t.Errorf("order %d is not stored as it was asked for", r.OrderID)
	}
}

func testCrowd(t *testing.T, s *shop, g Guard) {
	p := s.product(t, 10)
	wantSold(t, race(t, s, g, crowd(p, 64, 1)), 10)
	s.wantLeft(t, p, 0, 10)
}

func testLastUnit(t *testing.T, s *shop, g Guard) {
	p := s.product(t, 1)
	wantSold(t, race(t, s, g, crowd(p, 20, 1)), 1)
	s.wantLeft(t, p, 0, 1)
}

// testSeveralUnits: what is left is less than anybody wants.
func testSeveralUnits(t *testing.T, s *shop, g Guard) {
	p := s.product(t, 11)
	wantSold(t, race(t, s, g, crowd(p, 16, 3)), 3)
	s.wantLeft(t, p, 2, 3)
}

func testTwoProducts(t *testing.T, s *shop, g Guard) {
	p, q := s.product(t, 3), s.product(t, 4)
	answers := race(t, s, g, append(crowd(p, 16, 1), crowd(q, 16, 1)...))
	wantSold(t, answers[:16], 3)
	wantSold(t, answers[16:], 4)
	s.wantLeft(t, p, 0, 3)
	s.wantLeft(t, q, 0, 4)
}

// testRacedRetries: one key, sent twenty times at once.
func testRacedRetries(t *testing.T, s *shop, g Guard, stock int64) {
	p := s.product(t, stock)
	reqs := make([]order.Request, 20)
	for i := range reqs {
		reqs[i] = buy(p, fmt.Sprint("retried ", p))
	}
	fresh := 0
	ids := map[int64]bool{}
	for i, a := range race(t, s, g, reqs) {
		if a.err != nil || a.receipt.TotalCents != 10 || a.receipt.Status != order.StatusCreated || a.receipt.CreatedAt.IsZero() {
			t.Errorf("retry %d: %+v, %v", i, a.receipt, a.err)
			continue
		}
		ids[a.receipt.OrderID] = true
		if !a.receipt.Replayed {
			fresh++
		}
	}
	if len(ids) != 1 || fresh != 1 {
		t.Errorf("orders %v, %d of them new, want one", ids, fresh)
	}
	s.wantLeft(t, p, stock-1, 1)
}

func testRefusals(t *testing.T, s *shop, g Guard) {
	p := s.product(t, 2)
	key := fmt.Sprint("bought ", p)
	if _, err := once(t.Context(), s, g, buy(p, key)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*order.Request)
		want   order.Kind
	}{
		"price changed":     {func(r *order.Request) { r.PriceCents = 11 }, order.PriceChanged},
		"too many":          {func(r *order.Request) { r.Quantity = 2 }, order.OutOfStock},
		"no such product":   {func(r *order.Request) { r.ProductID = 1 << 40 }, order.ProductNotFound},
		"key, other amount": {func(r *order.Request) { r.Key, r.Quantity = key, 2 }, order.IdempotencyConflict},
		"key, other user":   {func(r *order.Request) { r.Key, r.UserID = key, 2 }, order.IdempotencyConflict},
		"key, other price":  {func(r *order.Request) { r.Key, r.PriceCents = key, 11 }, order.IdempotencyConflict},
		"key, no product":   {func(r *order.Request) { r.Key, r.ProductID = key, 1<<40 }, order.IdempotencyConflict},
	} {
		req := buy(p, fmt.Sprint("new ", p))
		tt.change(&req)
		_, err := once(within(t, patience), s, g, req)
		t.Log(name, err)
		wantKind(t, err, tt.want)
		s.wantLeft(t, p, 1, 1)
	}
	if _, err := once(t.Context(), s, g, buy(p, fmt.Sprint("new ", p))); err != nil {
		t.Errorf("a refusal bound its key: %v", err)
	}
}

// testReplaySoldOut: a buyer who has bought is told so, sold out or not.
func testReplaySoldOut(t *testing.T, s *shop, g Guard) {
	p := s.product(t, 1)
	key := fmt.Sprint("last ", p)
	first, err := once(t.Context(), s, g, buy(p, key))
	if err != nil {
		t.Fatal(err)
	}
	_, err = once(t.Context(), s, g, buy(p, "too late"))
	wantKind(t, err, order.OutOfStock)
	again, err := once(t.Context(), s, g, buy(p, key))
	if err != nil || !again.Replayed || again.OrderID != first.OrderID || again.TotalCents != first.TotalCents ||
		again.Status != first.Status || !again.CreatedAt.Equal(first.CreatedAt) {
		t.Errorf("retry: %+v, %v, want %+v, replayed", again, err, first)
	}
	s.wantLeft(t, p, 0, 1)
}

// testTooLate: an order whose time is over is refused and not executed.
func testTooLate(t *testing.T, s *shop, g Guard) {
	p := s.product(t, 1)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Place(over, buy(p, fmt.Sprint("late ", p)))
	wantKind(t, err, order.Overloaded)
	s.wantLeft(t, p, 1, 0)
}
