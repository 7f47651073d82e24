package users

import (
	"context"
	"sync"
	"time"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"
)

// maxCoalesced bounds the ids of one query.
const maxCoalesced = 1024

// Coalesced returns a directory in which all look-ups that wait share the next
// query. While one query is under way new look-ups gather; there is no timer.
func Coalesced(db *store.Store, latency, timeout time.Duration) *Directory {
	c := &coalescer{query: db.Users, timeout: timeout}
	return &Directory{latency: latency, find: c.find}
}

// coalescer merges concurrent look-ups. The first look-up that finds no query
// under way starts the goroutine that asks until nobody waits; it ends by
// itself, each query within timeout.
type coalescer struct {
	query   func(context.Context, []int64) (map[int64]struct{}, error)
	timeout time.Duration

	mu      sync.Mutex
	running bool
	waiting []lookup
}

type lookup struct {
	id     int64
	answer chan error // room for one: the asker may have gone
}

func (c *coalescer) find(ctx context.Context, id int64) error {
	l := lookup{id: id, answer: make(chan error, 1)}
	c.mu.Lock()
	c.waiting = append(c.waiting, l)
	start := !c.running
	c.running = true
	c.mu.Unlock()
	if start {
		go c.run()
	}
	select {
	case err := <-l.answer:
		return err
	case <-ctx.Done():
		return &order.Error{Kind: order.Timeout, Detail: "the time for this request ran out", Op: "look up user", Err: ctx.Err()}
	}
}

func (c *coalescer) run() {
	for {
		c.mu.Lock()
		n := min(len(c.waiting), maxCoalesced)
		if n == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		batch := c.waiting[:n:n]
		c.waiting = c.waiting[n:]
		c.mu.Unlock()
		c.ask(batch)
	}
}

func (c *coalescer) ask(batch []lookup) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	seen := make(map[int64]struct{}, len(batch))
	ids := make([]int64, 0, len(batch))
	for _, l := range batch {
		if _, dup := seen[l.id]; !dup {
			seen[l.id] = struct{}{}
			ids = append(ids, l.id)
		}
	}
	found, err := c.query(ctx, ids)
	for _, l := range batch {
		_, ok := found[l.id]
		switch {
		case err != nil:
			l.answer <- err
		case !ok:
			l.answer <- store.UserNotFound(l.id)
		default:
			l.answer <- nil
		}
	}
}
