// Package queue is the bounded queue in front of the executors of stages 1, 2
// and 3: HTTP goroutines submit an order and wait, executors take it and
// answer.
//
// Each job is claimed exactly once, either by an executor or by its own
// submitter when time runs out. So an order that was given up while it waited
// is never executed, and one that is being executed is always waited for.
package queue

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"example.com/flashsale/shop/order"
)

// errPanicked is the answer when execute panics. The panic ends the process,
// but the submitter may run for a moment longer, and must not say 201.
var errPanicked = errors.New("the order's executor panicked")

// Execute does the work of one order.
type Execute func(context.Context, order.Request) (order.Receipt, error)

// ExecuteAll does the work of many orders; it calls answer once for each, with
// the order's index.
type ExecuteAll = func(ctxs []context.Context, reqs []order.Request, answer func(i int, r order.Receipt, err error))

// Queue is a bounded queue of orders. It may be used concurrently.
type Queue struct {
	jobs   chan *Job
	mu     sync.RWMutex // Submit must not send on a channel that Close closes
	closed bool
}

// New returns a queue in which at most capacity orders wait.
func New(capacity int) *Queue {
	return &Queue{jobs: make(chan *Job, capacity)}
}

// Submit queues the order and waits for its answer. A full queue, and a
// context that ends while the order waits, are Overloaded errors: the order
// was not executed and will not be. Once an executor has it, Submit waits for
// the executor, whose own waits end with ctx.
//
// After Close it is an Overloaded error, too.
func (q *Queue) Submit(ctx context.Context, req order.Request) (order.Receipt, error) {
	j := &Job{ctx: ctx, req: req, done: make(chan struct{})}
	if !q.add(j) {
		return order.Receipt{}, order.Overload("the queue is full, try again")
	}
	select {
	case <-j.done:
	case <-ctx.Done():
		if j.claimed.CompareAndSwap(false, true) {
			return order.Receipt{}, order.Overload("the order waited too long and was not executed, try again")
		}
		<-j.done
	}
	return j.receipt, j.err
}

// add reports whether there was room.
func (q *Queue) add(j *Job) bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return false
	}
	select {
	case q.jobs <- j:
		return true
	default:
		return false
	}
}

// Jobs returns the channel that executors range over. It ends after Close, when
// the last waiting order has been taken.
func (q *Queue) Jobs() <-chan *Job { return q.jobs }

// Close lets the executors finish what waits and end. It does not wait. A
// shutdown that ran out of time can leave requests that submit after it.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	close(q.jobs)
}

// Job is one order in the queue.
type Job struct {
	ctx     context.Context //nolint:containedctx // it is the submitter's, which waits for the job
	req     order.Request
	claimed atomic.Bool
	done    chan struct{}
	receipt order.Receipt
	err     error
}

// Do executes the order and answers its submitter, unless that has given up.
func (j *Job) Do(execute Execute) {
	if !j.claimed.CompareAndSwap(false, true) {
		return
	}
	j.err = errPanicked // until execute has returned
	defer close(j.done)
	j.receipt, j.err = execute(j.ctx, j.req)
}

// Gather returns first and what else waits, up to limit, without blocking.
func (q *Queue) Gather(first *Job, limit int) []*Job {
	jobs := []*Job{first}
	for len(jobs) < limit {
		select {
		case j, open := <-q.jobs:
			if !open {
				return jobs
			}
			jobs = append(jobs, j)
		default:
			return jobs
		}
	}
	return jobs
}

// DoAll executes orders together and answers each, except those whose
// submitters have given up. execute must call answer once for every request.
func DoAll(jobs []*Job, execute ExecuteAll) {
	var ctxs []context.Context
	var reqs []order.Request
	claimed := jobs[:0]
	for _, j := range jobs {
		if j.claimed.CompareAndSwap(false, true) {
			claimed = append(claimed, j)
			ctxs, reqs = append(ctxs, j.ctx), append(reqs, j.req)
		}
	}
	if len(claimed) == 0 {
		return
	}
	execute(ctxs, reqs, func(i int, r order.Receipt, err error) {
		claimed[i].receipt, claimed[i].err = r, err
		close(claimed[i].done)
	})
}
