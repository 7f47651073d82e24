package guard

import (
	"context"
	"runtime"
	"sync"
	"time"

	"example.com/flashsale/shop/order"
)

// batch is group commit: one goroutine, the committer, sells all orders that
// wait in one transaction, and while that commits the next ones gather.
//
//	Place ─┐                       ┌── lock products ── gather ── decide ── write, COMMIT ──┐
//	Place ─┼─▶ waiting (bounded) ──┤                                                        ├─▶ answers
//	Place ─┘                       └────────────────── one committer ◀──────────────────────┘
//
// A hot row commits one transaction after another, each with a flush to disk.
// So the number of orders a second is the number of transactions a second
// times the orders in each, and there is no timer: a batch is what arrived
// while the last one was under way, and while the lock was waited for.
//
// The technique is that of a database's own group commit (DeWitt et al.,
// Implementation Techniques for Main Memory Database Systems, 1984), one level
// higher, where it saves the row lock too.
type batch struct {
	seller *seller
	sell   sellFunc // seller.sell, but for tests
	opt    BatchOptions

	mu      sync.Mutex
	waiting []*item
	closed  bool
	wake    chan struct{} // holds one: somebody waits
	stop    chan struct{}
	ended   chan struct{}
	pool    sync.Pool
}

// BatchOptions are the bounds of guard batch. Zero values take the defaults
// named beside them.
type BatchOptions struct {
	// QueueCap is how many orders may wait in one process; 4096.
	QueueCap int
	// Size is how many orders one transaction may hold; 1000.
	Size int
	// Wait is how long the committer waits for more orders once it has one; 0.
	Wait time.Duration
	// SoldOutFor is how long a product that was seen with no stock is refused
	// without a look at its row; 0 means always look.
	SoldOutFor time.Duration
	// Timeout bounds the wait for the products' locks.
	Timeout time.Duration
}

func (o BatchOptions) withDefaults() BatchOptions {
	if o.QueueCap <= 0 {
		o.QueueCap = 4096
	}
	if o.Size <= 0 {
		o.Size = 1000
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	return o
}

func openBatch(_ context.Context, d Deps) (Guard, error) {
	s := newSeller(d)
	b := newBatch(s.opt, s.sell)
	b.seller = s
	return b, nil
}

// sellFunc decides one batch of orders; see seller.sell.
type sellFunc func(ids []int64, gather func(map[int64]struct{}) []*item, putBack func([]*item))

// newBatch starts the committer. The caller ends it with Close.
func newBatch(opt BatchOptions, sell sellFunc) *batch {
	b := &batch{
		sell: sell, opt: opt,
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		ended: make(chan struct{}),
		pool:  sync.Pool{New: func() any { return &item{done: make(chan struct{}, 1)} }},
	}
	go b.run()
	return b
}

// Place queues the order and waits until the committer has decided it. The
// committer's steps are all bounded, so Place does not watch ctx: an order
// whose time ran out before its batch began is refused and never executed, and
// one that is in a batch is decided, whoever still waits for the answer.
func (b *batch) Place(ctx context.Context, req order.Request) (order.Receipt, error) {
	it := b.pool.Get().(*item)
	it.req, it.hash, it.ctx = req, req.Hash(), ctx
	if !b.add(it) {
		b.pool.Put(it)
		return order.Receipt{}, order.Overload("the queue is full, try again")
	}
	<-it.done
	receipt, err := it.receipt, it.err
	it.ctx, it.req, it.receipt, it.err = nil, order.Request{}, order.Receipt{}, nil
	b.pool.Put(it)
	return receipt, err
}

// add reports whether there was room.
func (b *batch) add(it *item) bool {
	b.mu.Lock()
	if b.closed || len(b.waiting) >= b.opt.QueueCap {
		b.mu.Unlock()
		return false
	}
	b.waiting = append(b.waiting, it)
	first := len(b.waiting) == 1
	b.mu.Unlock()
	if first {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// run is the committer.
func (b *batch) run() {
	defer close(b.ended)
	for {
		select {
		case <-b.wake:
		case <-b.stop:
			b.drain()
			return
		}
		b.pause()
		b.drain()
	}
}

// drain commits batches until nobody waits.
func (b *batch) drain() {
	for {
		b.yield()
		ids := b.products()
		if len(ids) == 0 {
			return
		}
		b.sell(ids, b.gather, b.putBack)
	}
}

// pause lets more orders gather, where that is asked for.
func (b *batch) pause() {
	if b.opt.Wait <= 0 {
		return
	}
	timer := time.NewTimer(b.opt.Wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.stop:
	}
}

// yield lets the requests that are ready to run come first, until none of them
// adds an order or the batch is full. Each would run anyway; but if the lock
// were held meanwhile, the other processes would wait for it, and if the batch
// were closed, theirs would be another transaction.
func (b *batch) yield() {
	for before := -1; ; runtime.Gosched() {
		n := b.waits()
		if n == before || n == 0 || n >= b.opt.Size {
			return
		}
		before = n
	}
}

func (b *batch) waits() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// products returns the products that are waited for, each once.
func (b *batch) products() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return productsOf(b.waiting)
}

func productsOf(items []*item) []int64 {
	var ids []int64
	seen := make(map[int64]struct{}, 1)
	last := int64(0)
	for _, it := range items {
		id := it.req.ProductID
		if id == last {
			continue
		}
		last = id
		if _, dup := seen[id]; !dup {
			seen[id] = struct{}{}
			ids = append(ids, id)
		}
	}
	return ids
}

// gather takes the orders for these products out of the queue, in the order of
// their arrival, up to the size of a batch.
func (b *batch) gather(products map[int64]struct{}) []*item {
	b.yield()
	b.mu.Lock()
	defer b.mu.Unlock()
	var taken []*item
	rest := b.waiting[:0:0]
	for i, it := range b.waiting {
		if len(taken) == b.opt.Size {
			rest = append(rest, b.waiting[i:]...)
			break
		}
		if _, ok := products[it.req.ProductID]; ok {
			taken = append(taken, it)
		} else {
			rest = append(rest, it)
		}
	}
	b.waiting = rest
	return taken
}

// putBack returns orders to the head of the queue, undecided.
func (b *batch) putBack(items []*item) {
	if len(items) == 0 {
		return
	}
	for _, it := range items {
		it.err = nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(items, b.waiting...)
}

// Close commits what waits and ends the committer. A later Place is refused.
func (b *batch) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	close(b.stop)
	<-b.ended
	return nil
}

// PlaceAll implements Together, for models with a single goroutine.
func (b *batch) PlaceAll(ctxs []context.Context, reqs []order.Request, answer Answer) {
	items := make([]*item, len(reqs))
	for i, req := range reqs {
		items[i] = &item{req: req, hash: req.Hash(), ctx: ctxs[i], done: make(chan struct{}, 1)}
	}
	for rest := items; len(rest) > 0; {
		now := rest
		rest = nil
		b.sell(productsOf(now),
			func(map[int64]struct{}) []*item { return now },
			func(back []*item) { rest = back })
	}
	for i, it := range items {
		answer(i, it.receipt, it.err)
	}
}
