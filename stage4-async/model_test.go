package main

import (
	"context"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/conformance"
	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/users"
)

func TestMain(m *testing.M) { os.Exit(backing.Main(m, backing.Options{Redis: true, Embedded: true})) }

func TestConformance(t *testing.T) {
	conformance.Run(t, "stage4-async", conformance.Options{
		Guards: []string{"conditional", "mutex", "redlock", "rowlock", "batch"},
	})
}

const lookup = 20 * time.Millisecond

// fakeShop takes as long for a product as the users' directory for a user.
type fakeShop struct{ stock int64 }

func (s fakeShop) Product(context.Context, int64) (order.Product, error) {
	<-time.After(lookup)
	return order.Product{ID: 1, PriceCents: 1, Stock: s.stock}, nil
}

func (fakeShop) Place(context.Context, order.Request) (order.Receipt, error) {
	return order.Receipt{OrderID: 1}, nil
}

func (fakeShop) Close() error { return nil }

var request = order.Request{UserID: 1, ProductID: 1, Quantity: 1, Key: "k", ServerKey: true}

func placeAll(t *testing.T, m *model, n int) (accepted, overloaded int) {
	t.Helper()
	var mu sync.Mutex
	var buyers sync.WaitGroup
	for range n {
		buyers.Go(func() {
			_, err := m.Place(t.Context(), request)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				accepted++
			case order.KindOf(err) == order.Overloaded:
				overloaded++
			default:
				t.Error(err)
			}
		})
	}
	buyers.Wait()
	return accepted, overloaded
}

// Two look-ups of 20 ms take 20 ms, and 64 orders at once take no longer.
func TestEverythingOverlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(nil, fakeShop{stock: 100}.Product, users.Latency(lookup), fakeShop{}, 64, 1)
		start := time.Now()
		if accepted, _ := placeAll(t, m, 64); accepted != 64 {
			t.Errorf("%d of 64 accepted", accepted)
		}
		if took := time.Since(start); took != lookup {
			t.Errorf("64 orders took %v, want %v", took, lookup)
		}
	})
}

// Two at once, two more wait, the rest is turned away without waiting.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(nil, fakeShop{stock: 100}.Product, users.Latency(lookup), fakeShop{}, 2, 2)
		start := time.Now()
		accepted, overloaded := placeAll(t, m, 10)
		if accepted != 4 || overloaded != 6 {
			t.Errorf("%d accepted, %d overloaded; want 4 and 6", accepted, overloaded)
		}
		if took := time.Since(start); took != 2*lookup {
			t.Errorf("took %v, want %v", took, 2*lookup)
		}
	})
}

func TestSoldOutNeedsNoGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(nil, fakeShop{stock: 0}.Product, users.Latency(lookup), nil, 2, 2)
		_, err := m.Place(t.Context(), request)
		if order.KindOf(err) != order.OutOfStock {
			t.Errorf("got %v, want out_of_stock", err)
		}
	})
}
