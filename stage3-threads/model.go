package main

// A fixed pool of workers, each pinned to an OS thread of its own.
//
//	HTTP goroutines ──decode──▶ queue (1024) ──┬─▶ thread 1 ──┐
//	        ▲                                  ├─▶ thread 2 ──┼─▶ mutex ──▶ database
//	        │                                  └─▶ thread n ──┘
//	        └───────────────── answer ◀────────────────┘
//
// Who accepts: net/http, a goroutine per connection.
// Who executes: the pool's threads, each one order at a time. LockOSThread
// makes a goroutine and a thread one thing, as in languages without goroutines:
// when it waits, its thread sleeps, and the kernel switches to another.
// Who waits: orders in the queue while all threads wait for user look-ups;
// then, one after another, for the mutex.
//
// The threads share memory, so a mutex in that memory guards the stock. It
// guards it for this process alone. A deadlock needs two locks taken in
// different orders: here a holder of the mutex waits for nothing but the
// database, because its connection was taken before (guard/mutex.go).

import (
	"context"
	"runtime"
	"sync"

	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/queue"
	"example.com/flashsale/shop/users"
)

type model struct {
	past  guard.Replayer
	users *users.Directory
	guard guard.Guard
	queue *queue.Queue
	pool  sync.WaitGroup
}

// newModel starts the pool. The caller ends it with close.
func newModel(past guard.Replayer, u *users.Directory, g guard.Guard, workers, queueCap int) *model {
	m := &model{past: past, users: u, guard: g, queue: queue.New(queueCap)}
	for range workers {
		m.pool.Go(m.thread)
	}
	return m
}

// Place runs on an HTTP goroutine: it queues the order and waits for a thread.
// A full queue answers at once.
func (m *model) Place(ctx context.Context, req order.Request) (order.Receipt, error) {
	return m.queue.Submit(ctx, req)
}

// thread is one worker of the pool. It never unlocks its thread, so the thread
// ends with it.
func (m *model) thread() {
	runtime.LockOSThread()
	for job := range m.queue.Jobs() {
		job.Do(m.execute)
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

// close executes what is queued and ends the threads. HTTP has stopped by now,
// so nobody submits any more.
func (m *model) close() {
	m.queue.Close()
	m.pool.Wait()
}
