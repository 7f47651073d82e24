package main

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
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
	conformance.Run(t, "stage2-multiproc", conformance.Options{
		Guards:    []string{"redlock", "rowlock", "conditional", "batch"},
		Processes: 2,
	})
}

// slowGuard takes 10 ms per order and notes how many run at once.
type slowGuard struct {
	running, most atomic.Int64
	sold          atomic.Int64
}

func (g *slowGuard) Place(context.Context, order.Request) (order.Receipt, error) {
	if n := g.running.Add(1); n > g.most.Load() {
		g.most.Store(n)
	}
	defer g.running.Add(-1)
	<-time.After(10 * time.Millisecond)
	return order.Receipt{OrderID: g.sold.Add(1)}, nil
}

func (*slowGuard) Close() error { return nil }

// Within one process it is stage 1; what is different, the suite tests on real processes.
func TestOneOrderAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &slowGuard{}
		m := newModel(nil, users.Latency(20*time.Millisecond), g, 64)
		start := time.Now()
		var buyers sync.WaitGroup
		for range 10 {
			buyers.Go(func() {
				if _, err := m.Place(t.Context(), order.Request{UserID: 1}); err != nil {
					t.Error(err)
				}
			})
		}
		buyers.Wait()
		if g.most.Load() != 1 {
			t.Errorf("%d orders ran at once", g.most.Load())
		}
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("10 orders of 30 ms took %v: they must not overlap", took)
		}
		m.close()
	})
}
