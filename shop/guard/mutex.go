package guard

import (
	"context"
	"sync"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"
)

// mutex sells one order per product at a time, in this process. BROKEN with
// more than one process: each has a lock of its own, and nobody else sees it.
type mutex struct {
	db    *store.Store
	locks locks
}

func openMutex(_ context.Context, d Deps) (Guard, error) { return &mutex{db: d.Store}, nil }

func (g *mutex) Place(ctx context.Context, req order.Request) (order.Receipt, error) {
	// The connection comes first: a holder of the lock that waited for one
	// would wait for those who wait for the lock.
	tx, err := g.db.Begin(ctx)
	if err != nil {
		return order.Receipt{}, err
	}
	defer tx.Release(ctx)
	unlock, err := g.locks.lock(ctx, req.ProductID)
	if err != nil {
		return order.Receipt{}, err
	}
	defer unlock()
	defer tx.Rollback(ctx) // before the unlock; does nothing after COMMIT
	return readCheckWrite(ctx, tx, req, nil)
}

func (*mutex) Close() error { return nil }

// locks is one lock per product that is being sold. A lock is a channel with
// one slot and not a sync.Mutex, because a wait for it must end with its
// context. The zero value is ready.
type locks struct {
	mu   sync.Mutex
	held map[int64]*slot
}

type slot struct {
	taken chan struct{}
	users int // holder and waiters; the last one removes the slot
}

func (l *locks) lock(ctx context.Context, id int64) (unlock func(), err error) {
	s := l.enter(id)
	select {
	case s.taken <- struct{}{}:
		return func() {
			<-s.taken
			l.leave(id, s)
		}, nil
	case <-ctx.Done():
		l.leave(id, s)
		return nil, order.Overload("the lock of this product did not become free in time, try again")
	}
}

func (l *locks) enter(id int64) *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(map[int64]*slot)
	}
	s := l.held[id]
	if s == nil {
		s = &slot{taken: make(chan struct{}, 1)}
		l.held[id] = s
	}
	s.users++
	return s
}

func (l *locks) leave(id int64, s *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(l.held, id)
	}
}
