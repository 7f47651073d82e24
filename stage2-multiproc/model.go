package main

// Several processes, each of which is a stage 1.
//
//	            ┌─ socket 1 ─▶ worker 1: queue ──▶ one goroutine ──▶ one connection ─┐
//	master ─────┼─ socket 2 ─▶ worker 2: queue ──▶ one goroutine ──▶ one connection ─┼─▶ lock in Redis
//	(no orders) └─ socket n ─▶ worker n: queue ──▶ one goroutine ──▶ one connection ─┘
//
// Who accepts: each worker, on a socket of its own. The kernel spreads the
// connections (SO_REUSEPORT). The master holds all sockets open, so that those
// of a worker that dies wait for its replacement.
// Who executes: one goroutine per process, one order after another.
// Who waits: everybody, but n orders are executed at a time. A crash takes
// down one worker and the orders in it, nothing else.
//
// The processes share no memory, so no mutex helps: without the lock in Redis
// they read the same stock and sell it n times. The code below is that of
// stage 1 to the letter; what is different runs outside of this process.

import (
	"context"

	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/queue"
	"example.com/flashsale/shop/users"
)

// batchSize bounds the orders of one transaction with GUARD=batch.
const batchSize = 1000

type model struct {
	past  guard.Replayer
	users *users.Directory
	guard guard.Guard
	queue *queue.Queue
	ended chan struct{}
}

// newModel starts the one goroutine. The caller ends it with close.
func newModel(past guard.Replayer, u *users.Directory, g guard.Guard, queueCap int) *model {
	m := &model{past: past, users: u, guard: g, queue: queue.New(queueCap), ended: make(chan struct{})}
	go m.run()
	return m
}

// Place runs on an HTTP goroutine: it queues the order and waits for its turn.
// A full queue answers at once.
func (m *model) Place(ctx context.Context, req order.Request) (order.Receipt, error) {
	return m.queue.Submit(ctx, req)
}

// run is the one goroutine.
func (m *model) run() {
	defer close(m.ended)
	together, batch := m.guard.(guard.Together)
	for job := range m.queue.Jobs() {
		if batch {
			queue.DoAll(m.queue.Gather(job, batchSize), m.executeAll(together))
		} else {
			job.Do(m.execute)
		}
	}
}

// execute does one order: look the user up, then check and take the stock and
// write the order.
func (m *model) execute(ctx context.Context, req order.Request) (order.Receipt, error) {
	return guard.Once(ctx, m.past, req, func(ctx context.Context, req order.Request) (order.Receipt, error) {
		if err := m.users.LookUp(ctx, req.UserID); err != nil {
			return order.Receipt{}, err
		}
		return m.guard.Place(ctx, req)
	})
}

// executeAll does with one transaction what execute does with one per order,
// where the guard can do that (GUARD=batch). The look-ups are sent together.
func (m *model) executeAll(g guard.Together) queue.ExecuteAll {
	return func(ctxs []context.Context, reqs []order.Request, answer guard.Answer) {
		// An order whose time has run out by then is refused by the guard.
		_ = m.users.LookUp(ctxs[len(ctxs)-1], reqs[0].UserID)
		g.PlaceAll(ctxs, reqs, answer)
	}
}

// close executes what is queued and ends the goroutine. HTTP has stopped by
// now, so nobody submits any more.
func (m *model) close() {
	m.queue.Close()
	<-m.ended
}
