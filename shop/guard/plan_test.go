package guard

import (
	"context"
	"slices"
	"testing"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"
)

// ask makes an item for a buyer's key.
func ask(key string, product, quantity int64) *item {
	req := order.Request{UserID: 1, ProductID: product, Quantity: quantity, Key: key}
	return &item{ctx: context.Background(), req: req, hash: req.Hash(), done: make(chan struct{}, 1)}
}

func keysOf(items []*item) []string {
	var keys []string
	for _, it := range items {
		keys = append(keys, it.req.Key)
	}
	return keys
}

func TestDecide(t *testing.T) {
	products := map[int64]order.Product{
		1: {ID: 1, PriceCents: 100, Stock: 5},
		2: {ID: 2, PriceCents: 7, Stock: 1},
	}
	server := ask("a", 1, 1)
	server.req.ServerKey = true
	stale := ask("stale", 1, 1)
	stale.req.PriceCents = 99
	for _, tc := range []struct {
		name                  string
		items                 []*item
		taken, refused, twins []string
		kinds                 []order.Kind // of the refused
	}{
		{name: "nobody"},
		{
			name:  "first come, first served",
			items: []*item{ask("a", 1, 3), ask("b", 1, 2), ask("c", 1, 1)},
			taken: []string{"a", "b"}, refused: []string{"c"}, kinds: []order.Kind{order.OutOfStock},
		},
		{
			name:  "a large order does not block a small one behind it",
			items: []*item{ask("a", 1, 4), ask("b", 1, 2), ask("c", 1, 1)},
			taken: []string{"a", "c"}, refused: []string{"b"}, kinds: []order.Kind{order.OutOfStock},
		},
		{
			name:  "products do not share stock",
			items: []*item{ask("a", 2, 1), ask("b", 1, 5), ask("c", 2, 1)},
			taken: []string{"a", "b"}, refused: []string{"c"}, kinds: []order.Kind{order.OutOfStock},
		},
		{
			name:  "each is refused for its own reason",
			items: []*item{ask("a", 3, 1), stale, ask("b", 2, 2)},
			taken: nil, refused: []string{"a", "stale", "b"},
			kinds: []order.Kind{order.ProductNotFound, order.PriceChanged, order.OutOfStock},
		},
		{
			name:  "the second with a key waits for the first",
			items: []*item{ask("a", 1, 1), ask("a", 1, 1), ask("a", 1, 2)},
			taken: []string{"a"}, twins: []string{"a", "a"},
		},
		{
			name:  "the server's keys have no twins",
			items: []*item{server, server},
			taken: []string{"a", "a"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := decide(tc.items, products)
			if !slices.Equal(keysOf(p.taken), tc.taken) || !slices.Equal(keysOf(p.refused), tc.refused) || !slices.Equal(keysOf(p.twins), tc.twins) {
				t.Errorf("taken %v, refused %v, twins %v; want %v, %v, %v",
					keysOf(p.taken), keysOf(p.refused), keysOf(p.twins), tc.taken, tc.refused, tc.twins)
			}
			for i, it := range p.refused {
				if i < len(tc.kinds) && order.KindOf(it.err) != tc.kinds[i] {
					t.Errorf("%s is refused with %v, want %v", it.req.Key, it.err, tc.kinds[i])
				}
			}
			if len(p.all()) != len(tc.items) {
				t.Errorf("%d of %d orders are in the plan", len(p.all()), len(tc.items))
			}
		})
	}
	if products[1].Stock != 5 {
		t.Error("decide changed the products that it was given")
	}
}

func TestSettle(t *testing.T) {
	s := &seller{}
	items := []*item{ask("first", 1, 1), ask("first", 1, 1), ask("first", 1, 2), ask("late", 1, 9)}
	p := decide(items, map[int64]order.Product{1: {ID: 1, PriceCents: 100, Stock: 5}})
	placed := []order.Receipt{{OrderID: 7, Status: order.StatusCreated, TotalCents: 100}}
	late := ask("late", 1, 9)
	past := map[string]store.Past{"late": {Receipt: order.Receipt{OrderID: 3}, Hash: string(late.hash[:])}}
	if again := s.settle(t.Context(), p, placed, past); len(again) != 0 {
		t.Fatalf("%v come again", keysOf(again))
	}
	for i, want := range []struct {
		id       int64
		replayed bool
		kind     order.Kind
	}{
		{id: 7}, {id: 7, replayed: true}, {kind: order.IdempotencyConflict}, {id: 3, replayed: true},
	} {
		it := items[i]
		if it.receipt.OrderID != want.id || it.receipt.Replayed != want.replayed || (want.kind != 0) != (it.err != nil) {
			t.Errorf("order %d: %+v, %v", i, it.receipt, it.err)
		}
		if want.kind != 0 && order.KindOf(it.err) != want.kind {
			t.Errorf("order %d: %v, want %v", i, it.err, want.kind)
		}
		if len(it.done) != 1 {
			t.Errorf("order %d was answered %d times", i, len(it.done))
		}
	}
	if items[0].receipt.TotalCents != 100 {
		t.Errorf("total %d, want 100", items[0].receipt.TotalCents)
	}
}

// A stranger's units go to those who were refused for want of them, and a twin
// of an order that was not placed is decided by itself.
func TestSettleWithStrangers(t *testing.T) {
	s := &seller{}
	stranger, hopeful, twin := ask("stranger", 1, 5), ask("hopeful", 1, 2), ask("stranger", 1, 5)
	stranger.req.ServerKey = false
	p := decide([]*item{stranger, hopeful, twin}, map[int64]order.Product{1: {ID: 1, PriceCents: 1, Stock: 5}})
	p.taken[0].req.ServerKey = true // no look-up of its key, which would need a database
	again := s.settle(t.Context(), p, make([]order.Receipt, len(p.taken)), nil)
	if !slices.Equal(keysOf(again), []string{"hopeful", "stranger"}) {
		t.Errorf("%v come again", keysOf(again))
	}
	if order.KindOf(stranger.err) != order.UserNotFound || len(stranger.done) != 1 {
		t.Errorf("the stranger got %v", stranger.err)
	}
	if len(hopeful.done)+len(twin.done) != 0 {
		t.Error("orders that come again were answered")
	}
}

func TestAliveRefusesThoseWhoseTimeRanOut(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late, early := ask("late", 1, 1), ask("early", 1, 1)
	late.ctx = ended
	live := alive([]*item{late, early})
	if !slices.Equal(keysOf(live), []string{"early"}) {
		t.Errorf("alive: %v", keysOf(live))
	}
	if order.KindOf(late.err) != order.Overloaded || len(late.done) != 1 {
		t.Errorf("the late order got %v", late.err)
	}
}
