package main

import (
	"context"
	"os"
	"sync"
	"testing"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/conformance"
	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/users"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(backing.Main(m, backing.Options{Redis: true, Embedded: true})) }

func TestConformance(t *testing.T) {
	conformance.Run(t, "stage3-threads", conformance.Options{
		Guards: []string{"mutex", "redlock", "rowlock", "conditional", "batch"},
	})
}

// threadGuard notes the thread of each order and keeps it until all have come.
type threadGuard struct {
	all     sync.WaitGroup
	mu      sync.Mutex
	threads map[int]int
}

func (g *threadGuard) Place(context.Context, order.Request) (order.Receipt, error) {
	g.mu.Lock()
	g.threads[unix.Gettid()]++
	g.mu.Unlock()
	g.all.Done()
	g.all.Wait()
	return order.Receipt{}, nil
}

func (*threadGuard) Close() error { return nil }

// The pool's workers are threads: as many orders as there are workers run at
// once, each on a thread of its own. Were they fewer, Place would never return.
func TestEachWorkerIsAThread(t *testing.T) {
	const workers = 16
	g := &threadGuard{threads: map[int]int{}}
	g.all.Add(workers)
	m := newModel(nil, users.Latency(0), g, workers, workers)
	var buyers sync.WaitGroup
	for range workers {
		buyers.Go(func() {
			if _, err := m.Place(t.Context(), order.Request{UserID: 1}); err != nil {
				t.Error(err)
			}
		})
	}
	buyers.Wait()
	m.close()
	if len(g.threads) != workers {
		t.Errorf("%d orders at once ran on %d threads", workers, len(g.threads))
	}
}
