package guard

import (
	"context"
	"fmt"
	"testing"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"
)

// TestLostUpdate is what all other guards are about, one step at a time: two
// orders read the same stock, both write the same rest, and both stand.
func TestLostUpdate(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	p := s.product(t, 1)
	ctx := t.Context()
	var txs [2]*store.Tx
	var seen [2]order.Product
	for i := range txs { // both read
		var err error
		if txs[i], err = s.Begin(ctx); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { txs[i].Release(context.Background()) })
		if seen[i], err = txs[i].Product(ctx, p); err != nil || seen[i].Stock != 1 {
			t.Fatalf("order %d reads %+v, %v", i, seen[i], err)
		}
	}
	for i, tx := range txs { // both check and write
		req := buy(p, fmt.Sprint(i))
		if err := seen[i].Check(req); err != nil {
			t.Fatalf("order %d: %v", i, err)
		}
		if _, err := tx.Write(ctx, req, seen[i], seen[i].Stock-1); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.wantLeft(t, p, 0, 2) // one unit, two orders, and no CHECK complains
}

// oversell lets two orders for one unit read before either writes: the test
// holds the row, so that both wait at their UPDATE.
func oversell(t *testing.T, s *shop, a, b Guard) {
	t.Helper()
	p := s.product(t, 1)
	release := s.holdRow(t, p)
	first, second := place(t.Context(), a, buy(p, "a")), place(t.Context(), b, buy(p, "b"))
	s.untilWaiting(t, 2)
	release()
	for _, c := range []<-chan answer{first, second} {
		if r := <-c; r.err != nil {
			t.Errorf("a buyer was refused: %v", r.err)
		}
	}
	s.wantLeft(t, p, 0, 2)
}

func TestNoneOversells(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	g := s.open(t, None)
	oversell(t, s, g, g)
}

// TestNoneOneAtATime: nothing protects the stock, and nothing has to.
func TestNoneOneAtATime(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	g := s.open(t, None)
	p := s.product(t, 3)
	var answers []answer
	for _, req := range crowd(p, 5, 1) {
		r, err := once(t.Context(), s, g, req)
		answers = append(answers, answer{r, err})
	}
	wantSold(t, answers, 3)
	s.wantLeft(t, p, 0, 3)
	testRefusals(t, s, g)
	testReplaySoldOut(t, s, g)
	testTooLate(t, s, g)
}
