package chaos

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
)

const (
	// clientTimeout is how long a buyer waits for one answer: longer than a stage works on it.
	clientTimeout = 5 * time.Second
	// answerPatience is how long buyers go on to ask for an answer after the last fault.
	answerPatience = 15 * time.Second
	minPause       = 10 * time.Millisecond
	maxPause       = 100 * time.Millisecond
)

// load is buyers that order at a steady pace and ask again, under the same key, until they know.
type load struct {
	start    time.Time
	stopping chan struct{} // closed: no new orders
	stopOnce sync.Once
	cancel   context.CancelFunc // no further attempt
	ordering sync.WaitGroup     // the buyers
	watching sync.WaitGroup     // who interrupts them
	buyers   []*buyer
	accepted atomic.Int64
}

// buyer is one user. Its goroutine owns it until the load has ended.
type buyer struct {
	*attack.Buyer
	load       *load
	pause      *rand.Rand
	attempts   []attack.Outcome
	orders     int64
	twice      int64
	unanswered int64
	longest    time.Duration
}

// startLoad lets the buyers begin. perSecond is the number of orders of all of them together; 0: as many as they can,
// one after the other. The caller ends the load with finish or abandon.
func startLoad(ctx context.Context, target string, product database.Product, users int, perSecond float64, seed uint64) (*load, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{start: time.Now(), stopping: make(chan struct{}), cancel: cancel}
	for i := range users {
		b, err := attack.NewBuyer(target, attack.Order{UserID: int64(i + 1), ProductID: product.ID, Quantity: 1}, l.start, clientTimeout)
		if err != nil {
			cancel()
			return nil, err
		}
		l.buyers = append(l.buyers, &buyer{Buyer: b, load: l, pause: rand.New(rand.NewPCG(seed, uint64(i)))})
	}
	var interval time.Duration
	if perSecond > 0 {
		interval = time.Duration(float64(users) / perSecond * float64(time.Second))
	}
	for i, b := range l.buyers {
		first := l.start.Add(interval * time.Duration(i) / time.Duration(users))
		l.ordering.Go(func() { b.run(ctx, first, interval) })
	}
	l.watching.Go(func() {
		<-ctx.Done()
		for _, b := range l.buyers {
			b.Interrupt()
		}
	})
	return l, nil
}

// finish takes no new orders and waits until those under way are answered, or patience is over.
func (l *load) finish() {
	l.stopOnce.Do(func() { close(l.stopping) })
	late := time.AfterFunc(answerPatience, l.cancel)
	defer late.Stop()
	l.ordering.Wait()
	l.abandon()
}

// abandon ends the load at once, because nobody is there to answer. It may be called after finish, and again.
func (l *load) abandon() {
	l.stopOnce.Do(func() { close(l.stopping) })
	l.cancel()
	l.ordering.Wait()
	l.watching.Wait()
	for _, b := range l.buyers {
		b.Close()
	}
}

// run orders until there are to be no new orders.
func (b *buyer) run(ctx context.Context, next time.Time, interval time.Duration) {
	for b.wait(time.Until(next)) && ctx.Err() == nil {
		b.order(ctx)
		// Who is late does not catch up: a stage that comes back is not to be run over.
		if next = next.Add(interval); time.Until(next) < -interval {
			next = time.Now()
		}
	}
}

// wait returns after d, or false when there are to be no new orders.
func (b *buyer) wait(d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-b.load.stopping:
		return false
	case <-timer.C:
	}
	select {
	case <-b.load.stopping: // both were ready
		return false
	default:
		return true
	}
}

// order wants one unit, and asks under the same key until it knows whether it got it.
func (b *buyer) order(ctx context.Context) {
	key, began := b.NewKey(), time.Now()
	for attempt := 1; ; attempt++ {
		outcome, retryAfter, sent := b.Order(ctx, key)
		if sent {
			b.attempts = append(b.attempts, outcome)
		}
		if attempt == 1 && sent {
			b.orders++
		}
		if sent && known(outcome.Class) {
			b.longest = max(b.longest, time.Since(began))
			b.load.accepted.Add(1)
			return
		}
		if attempt == 2 && sent {
			b.twice++
		}
		if !sleep(ctx, b.patience(attempt, retryAfter)) {
			if attempt > 1 || sent {
				b.unanswered++
			}
			return
		}
	}
}

// known says whether an answer settles what became of the order.
func known(c attack.Class) bool {
	return c == attack.Accepted || c == attack.Replayed || c == attack.Rejected
}

// patience is the wait before the next attempt: as the answer asks, within bounds, or longer each time, and never the
// same for two buyers.
func (b *buyer) patience(attempt int, retryAfter time.Duration) time.Duration {
	pause := min(minPause<<min(attempt-1, 10), maxPause)
	if retryAfter > 0 {
		pause = min(retryAfter, maxPause)
	}
	return pause + time.Duration(b.pause.Float64()*float64(pause)/2)
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
