package main

// A goroutine per request; the two look-ups of an order run side by side.
//
//	HTTP goroutine ──▶ semaphore ──┬─▶ goroutine: look the user up ──┐
//	 (one per request)             └─▶ goroutine: check the stock  ──┴─▶ guard ──▶ database
//
// Who accepts: net/http, a goroutine per connection.
// Who executes: the same goroutine, with two helpers for a moment (errgroup).
// Who waits: all of them, at once. A goroutine that waits costs a few KB and
// no thread, so 64 look-ups of 20 ms take 20 ms.
//
// What runs at once sells at once, so the database must guard the stock: the
// check beside the look-up only turns buyers away early. Two bounds keep the
// service from drowning: the semaphore, and the number of requests that may
// wait for it.

import (
	"context"

	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/users"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

type model struct {
	past    guard.Replayer
	product func(context.Context, int64) (order.Product, error)
	users   *users.Directory
	guard   guard.Guard
	admit   *semaphore.Weighted // everything in the model: running or waiting
	running *semaphore.Weighted
}

func newModel(past guard.Replayer, product func(context.Context, int64) (order.Product, error), u *users.Directory, g guard.Guard, workers, queueCap int) *model {
	return &model{
		past: past, product: product, users: u, guard: g,
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

// execute looks the user up and the stock over at the same time, then sells.
// The first of the two that fails ends the wait for the other.
func (m *model) execute(ctx context.Context, req order.Request) (order.Receipt, error) {
	g, both := errgroup.WithContext(ctx)
	g.Go(func() error { return m.users.LookUp(both, req.UserID) })
	g.Go(func() error {
		product, err := m.product(both, req.ProductID)
		if err != nil {
			return err
		}
		return product.Check(req)
	})
	if err := g.Wait(); err != nil {
		return order.Receipt{}, err
	}
	return m.guard.Place(ctx, req)
}
