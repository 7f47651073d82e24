package main

// Several processes, each with a goroutine per request and one committer.
//
//	            ┌─ socket 1 ─▶ worker 1: goroutines ─▶ look-up ─▶ waiting ─▶ committer ─┐
//	master ─────┤                                                                       ├─▶ database
//	(no orders) └─ socket n ─▶ worker n: goroutines ─▶ look-up ─▶ waiting ─▶ committer ─┘
//
// Who accepts: each worker, on a socket of its own, with a goroutine per
// connection.
// Who executes: that goroutine, up to the point where stock is taken.
// Who commits: one goroutine per worker (guard/batch.go). It takes all orders
// that wait and sells them in one transaction; while that commits, the next
// ones gather.
// Who waits: all of them, at once, on every core.
//
// The single writer of stage 1 is back, and it is the fastest way to sell one
// hot product: the row is locked, written and flushed once for hundreds of
// orders. The workers take turns at the row.

import (
	"context"

	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/users"

	"golang.org/x/sync/semaphore"
)

type model struct {
	past    guard.Replayer
	users   *users.Directory
	guard   guard.Guard
	admit   *semaphore.Weighted // everything in the model: running or waiting
	running *semaphore.Weighted
}

func newModel(past guard.Replayer, u *users.Directory, g guard.Guard, workers, queueCap int) *model {
	return &model{
		past: past, users: u, guard: g,
		admit:   semaphore.NewWeighted(int64(workers + queueCap)),
		running: semaphore.NewWeighted(int64(workers)),
	}
}

// Place runs on the request's own goroutine.
func (m *model) Place(ctx context.Context, req order.Request) (order.Receipt, error) {
	if !m.admit.TryAcquire(1) {
		return order.Receipt{}, order.Overload("too many requests wait, try again")
	}
	defer m.admit.Release(1)
	if err := m.running.Acquire(ctx, 1); err != nil {
		return order.Receipt{}, order.Overload("the order waited too long and was not executed, try again")
	}
	defer m.running.Release(1)
	return guard.Once(ctx, m.past, req, m.execute)
}

// execute looks the user up, then sells. Guard batch looks up the users of a
// whole batch itself, so with it the look-up here is the latency alone.
func (m *model) execute(ctx context.Context, req order.Request) (order.Receipt, error) {
	if err := m.users.LookUp(ctx, req.UserID); err != nil {
		return order.Receipt{}, err
	}
	return m.guard.Place(ctx, req)
}
