package queue_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/queue"
)

// result is what Submit returned, and when.
type result struct {
	receipt order.Receipt
	err     error
	after   time.Duration
}

// submit calls Submit in a goroutine of its own.
func submit(ctx context.Context, q *queue.Queue, req order.Request) <-chan result {
	answer := make(chan result, 1)
	start := time.Now()
	go func() {
		r, err := q.Submit(ctx, req)
		answer <- result{r, err, time.Since(start)}
	}()
	return answer
}

// echo answers with an order whose id is the product's.
func echo(_ context.Context, req order.Request) (order.Receipt, error) {
	return order.Receipt{OrderID: req.ProductID}, nil
}

func TestSubmitReturnsWhatTheExecutorAnswers(t *testing.T) {
	t.Parallel()
	sold := &order.Error{Kind: order.OutOfStock}
	for name, want := range map[string]result{
		"receipt": {receipt: order.Receipt{OrderID: 5, Status: order.StatusCreated, TotalCents: 7}},
		"error":   {err: sold},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := queue.New(1)
			type mark struct{}
			req := order.Request{UserID: 1, ProductID: 2, Quantity: 3, Key: "k"}
			answer := submit(context.WithValue(t.Context(), mark{}, "hers"), q, req)
			(<-q.Jobs()).Do(func(ctx context.Context, got order.Request) (order.Receipt, error) {
				if got != req || ctx.Value(mark{}) != "hers" {
					t.Errorf("executed %+v with another context or request", got)
				}
				return want.receipt, want.err
			})
			if got := <-answer; got.receipt != want.receipt || !errors.Is(got.err, want.err) {
				t.Errorf("Submit() = %+v, %v, want %+v, %v", got.receipt, got.err, want.receipt, want.err)
			}
		})
	}
}

func TestFullQueueAnswersAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const capacity = 3
		q := queue.New(capacity)
		ctx, giveUp := context.WithTimeout(t.Context(), time.Minute)
		defer giveUp()
		waiting := make([]<-chan result, capacity)
		for i := range waiting {
			waiting[i] = submit(ctx, q, order.Request{ProductID: int64(i)})
		}
		synctest.Wait()
		if n := len(q.Jobs()); n != capacity {
			t.Fatalf("%d orders wait, want %d", n, capacity)
		}
		start := time.Now()
		_, err := q.Submit(ctx, order.Request{})
		if order.KindOf(err) != order.Overloaded || time.Since(start) != 0 {
			t.Errorf("a full queue: %v after %v, want Overloaded at once", err, time.Since(start))
		}
		// One place becomes free, and is taken by the next.
		(<-q.Jobs()).Do(echo)
		next := submit(ctx, q, order.Request{ProductID: 9})
		synctest.Wait()
		if n := len(q.Jobs()); n != capacity {
			t.Errorf("%d orders wait after one was taken and one came, want %d", n, capacity)
		}
		q.Close()
		for job := range q.Jobs() {
			job.Do(echo)
		}
		for i, answer := range append(waiting, next) {
			if r := <-answer; r.err != nil {
				t.Errorf("order %d: %v", i, r.err)
			}
		}
	})
}

func TestAbandonedJobIsNeverExecuted(t *testing.T) {
	t.Parallel()
	for name, abandon := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
		"buyer left": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := queue.New(1)
				ctx, cancel := abandon(t.Context())
				defer cancel()
				r := <-submit(ctx, q, order.Request{})
				if order.KindOf(r.err) != order.Overloaded || r.after != time.Second {
					t.Errorf("Submit() = %v after %v, want Overloaded after 1s", r.err, r.after)
				}
				(<-q.Jobs()).Do(func(context.Context, order.Request) (order.Receipt, error) {
					t.Error("an abandoned order was executed")
					return order.Receipt{}, nil
				})
			})
		})
	}
}

func TestClaimedJobIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := queue.New(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		answer := submit(ctx, q, order.Request{ProductID: 4})
		(<-q.Jobs()).Do(func(ctx context.Context, req order.Request) (order.Receipt, error) {
			<-ctx.Done() // the buyer's time runs out, but COMMIT has begun
			<-time.After(time.Second)
			return echo(ctx, req)
		})
		if r := <-answer; r.err != nil || r.receipt.OrderID != 4 || r.after != 2*time.Second {
			t.Errorf("Submit() = %+v, %v after %v, want order 4 after 2s", r.receipt, r.err, r.after)
		}
	})
}

func TestJobIsExecutedOnce(t *testing.T) {
	t.Parallel()
	q := queue.New(1)
	answer := submit(t.Context(), q, order.Request{ProductID: 1})
	job := <-q.Jobs()
	job.Do(echo)
	job.Do(func(context.Context, order.Request) (order.Receipt, error) {
		t.Error("executed twice")
		return order.Receipt{OrderID: 2}, nil
	})
	if r := <-answer; r.receipt.OrderID != 1 {
		t.Errorf("order %d, want 1", r.receipt.OrderID)
	}
}

// TestPanicIsNoReceipt: the panic ends the process, but its submitter may run
// for a moment longer and must not answer 201 to an order that was not placed.
func TestPanicIsNoReceipt(t *testing.T) {
	t.Parallel()
	q := queue.New(1)
	answer := submit(t.Context(), q, order.Request{})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Do swallowed the panic")
			}
		}()
		(<-q.Jobs()).Do(func(context.Context, order.Request) (order.Receipt, error) { panic("broken") })
	}()
	if r := <-answer; r.err == nil {
		t.Errorf("Submit() = %+v and no error after a panic", r.receipt)
	}
}

func TestCloseDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 10
		q := queue.New(n)
		answers := make([]<-chan result, n)
		for i := range answers {
			answers[i] = submit(t.Context(), q, order.Request{ProductID: int64(i)})
		}
		synctest.Wait()
		q.Close()
		var executors sync.WaitGroup
		for range 3 {
			executors.Go(func() {
				for job := range q.Jobs() {
					job.Do(echo)
				}
			})
		}
		executors.Wait()
		for i, answer := range answers {
			if r := <-answer; r.err != nil || r.receipt.OrderID != int64(i) {
				t.Errorf("order %d: %+v, %v", i, r.receipt, r.err)
			}
		}
	})
}

// jobs submits n orders, products 0 to n-1 in this order, and takes the first
// out of the queue.
func jobs(t *testing.T, q *queue.Queue, n int) (first *queue.Job, answers []<-chan result) {
	t.Helper()
	for i := range n {
		answers = append(answers, submit(t.Context(), q, order.Request{ProductID: int64(i)}))
		synctest.Wait() // one after another, so that their order is known
	}
	return <-q.Jobs(), answers
}

// all answers every order as echo does, and notes which it got.
func all(got *[]int64) queue.ExecuteAll {
	return func(ctxs []context.Context, reqs []order.Request, answer func(int, order.Receipt, error)) {
		for i, req := range reqs {
			*got = append(*got, req.ProductID)
			r, err := echo(ctxs[i], req)
			answer(i, r, err)
		}
	}
}

func TestGatherTakesWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := queue.New(8)
		first, answers := jobs(t, q, 5)
		var got []int64
		gathered := q.Gather(first, 3)
		if len(gathered) != 3 || gathered[0] != first {
			t.Fatalf("%d jobs, want 3 and the first one first", len(gathered))
		}
		queue.DoAll(gathered, all(&got))
		q.Close()
		queue.DoAll(q.Gather(<-q.Jobs(), 100), all(&got)) // fewer than the limit, and no more will come
		if !slices.Equal(got, []int64{0, 1, 2, 3, 4}) {
			t.Errorf("executed %v", got)
		}
		for i, answer := range answers {
			if r := <-answer; r.err != nil || r.receipt.OrderID != int64(i) {
				t.Errorf("order %d: %+v, %v", i, r.receipt, r.err)
			}
		}
	})
}

func TestGatherDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := queue.New(8)
		first, answers := jobs(t, q, 1)
		start := time.Now()
		var got []int64
		queue.DoAll(q.Gather(first, 100), all(&got))
		if r := <-answers[0]; r.err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %v", r.err, time.Since(start))
		}
	})
}

func TestDoAllSkipsTheAbandoned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := queue.New(8)
		ctx, cancel := context.WithCancel(t.Context())
		gone := []<-chan result{submit(ctx, q, order.Request{ProductID: 7})}
		synctest.Wait()
		first, answers := jobs(t, q, 2) // first is one of the gone, by now
		gone = append(gone, submit(ctx, q, order.Request{ProductID: 8}))
		synctest.Wait()
		cancel()
		for _, answer := range gone {
			if r := <-answer; order.KindOf(r.err) != order.Overloaded {
				t.Errorf("a buyer who left: %v", r.err)
			}
		}
		var got []int64
		queue.DoAll(q.Gather(first, 100), all(&got))
		if !slices.Equal(got, []int64{0, 1}) {
			t.Errorf("executed %v, want 0 and 1", got)
		}
		for i, answer := range answers {
			if r := <-answer; r.err != nil || r.receipt.OrderID != int64(i) {
				t.Errorf("order %d: %+v, %v", i, r.receipt, r.err)
			}
		}
		queue.DoAll(nil, func([]context.Context, []order.Request, func(int, order.Receipt, error)) {
			t.Error("executed nothing")
		})
	})
}

// tally is what became of the orders of a stress test.
type tally struct {
	executed              []atomic.Int32 // by order: how often
	sold, refused, gaveUp atomic.Int32
	full                  chan struct{} // closed at the first refusal by a full queue
	firstFull             sync.Once
}

// buy submits order i, in which the product's id is i. Every other buyer gives
// up at any moment.
func (s *tally) buy(t *testing.T, q *queue.Queue, i int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	impatient := i%2 == 1
	if impatient {
		go cancel()
	}
	r, err := q.Submit(ctx, order.Request{ProductID: int64(i)})
	runs := s.executed[i].Load()
	switch {
	case err == nil && runs == 1 && r.OrderID == int64(i):
		s.sold.Add(1)
	case order.KindOf(err) == order.Overloaded && runs == 0 && impatient:
		s.gaveUp.Add(1)
	case order.KindOf(err) == order.Overloaded && runs == 0:
		s.refused.Add(1)
		s.firstFull.Do(func() { close(s.full) })
	default:
		t.Errorf("order %d: %+v, %v, executed %d times", i, r, err, runs)
	}
}

func (s *tally) execute(ctx context.Context, req order.Request) (order.Receipt, error) {
	s.executed[req.ProductID].Add(1)
	return echo(ctx, req)
}

// TestEachOrderIsExecutedOrRefused: first a crowd before executors that do not
// work yet, so that the queue runs full, then a steady stream.
func TestEachOrderIsExecutedOrRefused(t *testing.T) {
	t.Parallel()
	const crowd, buyers, each, capacity = 500, 24, 150, 16
	q := queue.New(capacity)
	s := &tally{executed: make([]atomic.Int32, crowd+buyers*each), full: make(chan struct{})}
	gate := make(chan struct{})
	var executors, all sync.WaitGroup
	for range 4 {
		executors.Go(func() {
			<-gate
			for job := range q.Jobs() {
				job.Do(s.execute)
			}
		})
	}
	for i := range crowd {
		all.Go(func() { s.buy(t, q, i) })
	}
	<-s.full
	close(gate)
	for b := range buyers {
		all.Go(func() {
			for n := range each {
				s.buy(t, q, crowd+b*each+n)
			}
		})
	}
	all.Wait()
	q.Close()
	executors.Wait()
	var executed int32
	for i := range s.executed {
		executed += s.executed[i].Load()
	}
	sold, refused, gaveUp := s.sold.Load(), s.refused.Load(), s.gaveUp.Load()
	t.Logf("sold %d, refused %d, given up or refused %d", sold, refused, gaveUp)
	if executed != sold {
		t.Errorf("%d orders were executed, but %d answered: some ran after they had been refused", executed, sold)
	}
	if int(sold+refused+gaveUp) != len(s.executed) {
		t.Errorf("%d orders, want %d", sold+refused+gaveUp, len(s.executed))
	}
	if sold < buyers || refused == 0 || gaveUp == 0 {
		t.Error("this run tried too little")
	}
}

// A request that outlived the shutdown is refused; it must not panic.
func TestSubmitAfterClose(t *testing.T) {
	t.Parallel()
	q := queue.New(1)
	q.Close()
	if _, err := q.Submit(t.Context(), order.Request{}); order.KindOf(err) != order.Overloaded {
		t.Errorf("got %v, want overloaded", err)
	}
}
