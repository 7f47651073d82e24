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
	conformance.Run(t, "stage5-hybrid", conformance.Options{
		Guards:    []string{"batch", "conditional", "rowlock", "redlock"},
		Processes: 2,
	})
}

const lookup = 20 * time.Millisecond

type instantGuard struct{}

func (instantGuard) Place(context.Context, order.Request) (order.Receipt, error) {
	return order.Receipt{OrderID: 1}, nil
}

func (instantGuard) Close() error { return nil }

// Two at once, two more wait, the rest is turned away without waiting.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(nil, users.Latency(lookup), instantGuard{}, 2, 2)
		start := time.Now()
		var mu sync.Mutex
		var accepted, overloaded int
		var buyers sync.WaitGroup
		for range 10 {
			buyers.Go(func() {
				_, err := m.Place(t.Context(), order.Request{UserID: 1, ServerKey: true})
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
		if accepted != 4 || overloaded != 6 {
			t.Errorf("%d accepted, %d overloaded; want 4 and 6", accepted, overloaded)
		}
		if took := time.Since(start); took != 2*lookup {
			t.Errorf("took %v, want %v", took, 2*lookup)
		}
	})
}
