// Package coalesce merges look-ups that wait at the same time into one query.
package coalesce

import (
	"context"
	"sync"
	"time"

	"example.com/flashsale/shop/order"
)

// maxKeys bounds the look-ups of one query.
const maxKeys = 1024

// Group merges concurrent look-ups by id: while one query is under way the next
// look-ups gather, and share the query after it. There is no timer and no cache:
// an answer is never older than the look-up that gets it. It may be used
// concurrently.
type Group[V any] struct {
	// Query returns what it found, by id.
	Query func(ctx context.Context, ids []int64) (map[int64]V, error)
	// Timeout bounds a query. It does not end with any one look-up, because
	// others wait for it too.
	Timeout time.Duration

	mu      sync.Mutex
	running bool
	waiting []lookup[V]
}

type lookup[V any] struct {
	id     int64
	answer chan answer[V] // room for one: the asker may have gone
}

type answer[V any] struct {
	value V
	found bool
	err   error
}

// Get returns what there is under id, and whether there is anything. It blocks
// for two queries at most; a ctx that ends first is a Timeout error.
//
// The first look-up that finds no query under way starts the goroutine that
// asks until nobody waits. It ends by itself, each query within Timeout.
func (g *Group[V]) Get(ctx context.Context, id int64) (value V, found bool, err error) {
	l := lookup[V]{id: id, answer: make(chan answer[V], 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, l)
	start := !g.running
	g.running = true
	g.mu.Unlock()
	if start {
		go g.run()
	}
	select {
	case a := <-l.answer:
		return a.value, a.found, a.err
	case <-ctx.Done():
		return value, false, &order.Error{Kind: order.Timeout, Detail: "the time for this request ran out", Op: "look up", Err: ctx.Err()}
	}
}

func (g *Group[V]) run() {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), maxKeys)
		if n == 0 {
			g.running = false
			g.mu.Unlock()
			return
		}
		batch := g.waiting[:n:n]
		g.waiting = g.waiting[n:]
		g.mu.Unlock()
		g.ask(batch)
	}
}

func (g *Group[V]) ask(batch []lookup[V]) {
	ctx, cancel := context.WithTimeout(context.Background(), g.Timeout)
	defer cancel()
	seen := make(map[int64]struct{}, len(batch))
	ids := make([]int64, 0, len(batch))
	for _, l := range batch {
		if _, dup := seen[l.id]; !dup {
			seen[l.id] = struct{}{}
			ids = append(ids, l.id)
		}
	}
	values, err := g.Query(ctx, ids)
	for _, l := range batch {
		value, found := values[l.id]
		l.answer <- answer[V]{value, found, err}
	}
}
