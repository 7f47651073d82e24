package conformance

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"example.com/flashsale/harness/contract"
)

// pause is what a client waits after it was turned away, so that it does not spin.
const pause = 10 * time.Millisecond

// attempt is one order under one key, and what the client that placed it knows in the end.
type attempt struct {
	contract.Order
	status  int              // of the last answer; 0: none
	receipt contract.Receipt // where that was 200 or 201
	// open says that some try of it got no answer, or one that leaves open whether the order exists.
	open bool
	bad  string // what was wrong with an answer
}

// placed says that the client was told that the order exists.
func (a attempt) placed() bool { return a.status == http.StatusCreated || a.status == http.StatusOK }

// load is a number of clients that order one product, each one order after the other.
type load struct {
	f        *fixture
	retry    bool
	accepted atomic.Int64
	cancel   context.CancelFunc
	clients  sync.WaitGroup

	mu       sync.Mutex
	attempts []attempt
}

// load starts the clients; every other one keeps its connection. With retry an order is sent again under the same key
// until its outcome is clear; without, a client gives up at its first broken connection. Somebody must call stop.
func (f *fixture) load(product int64, clients int, retry bool) *load {
	ctx, cancel := context.WithCancel(f.Context())
	l := &load{f: f, retry: retry, cancel: cancel}
	for i := range clients {
		c := contract.NewClient(f.process.URL, i%2 == 0)
		l.clients.Go(func() {
			defer c.Close()
			l.run(ctx, c, int64(i+1), product)
		})
	}
	f.Cleanup(func() { l.stop() })
	return l
}

// stop ends the clients after the order that each is at, and returns all attempts. Calling it again is fine.
func (l *load) stop() []attempt {
	l.cancel()
	l.clients.Wait()
	return l.attempts
}

// wait returns all attempts once the clients have given up by themselves, because the stage is gone.
func (l *load) wait() []attempt {
	l.f.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.clients.Wait()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		l.f.Fatal("clients still get answers from a stage that has ended")
	}
	return l.attempts
}

// waitAccepted waits until so many more orders are accepted.
func (l *load) waitAccepted(more int64) {
	l.f.Helper()
	goal := l.accepted.Load() + more
	eventually(l.f.T, "the stage accepts orders", func() bool { return l.accepted.Load() >= goal })
}

func (l *load) run(ctx context.Context, c *contract.Client, user, product int64) {
	for ctx.Err() == nil {
		a := attempt{Order: contract.Buy(product)}
		a.User = user
		goOn := l.place(c, &a)
		if a.placed() {
			l.accepted.Add(1)
		}
		l.mu.Lock()
		l.attempts = append(l.attempts, a)
		l.mu.Unlock()
		if !goOn {
			return
		}
	}
}

// place sends one order until there is nothing more to learn, and says whether the client should go on. It does not
// stop in the middle when the load does, so that few outcomes stay open.
func (l *load) place(c *contract.Client, a *attempt) (goOn bool) {
	deadline := time.Now().Add(patience)
	for {
		got, err := c.Order(context.WithoutCancel(l.f.Context()), a.Order)
		if err == nil {
			a.learn(got)
		} else {
			a.status, a.open = 0, true
			if !l.retry {
				return false
			}
		}
		if a.placed() || a.status == http.StatusConflict {
			return true
		}
		<-time.After(pause)
		if !l.retry || time.Now().After(deadline) {
			return true
		}
	}
}

// learn keeps what an answer says.
func (a *attempt) learn(got contract.Answer) {
	a.status = got.Status
	var err error
	if a.placed() {
		a.receipt, err = got.Receipt()
	} else {
		_, err = got.Code()
		// Everything but these promises that nothing was written.
		if got.Status >= http.StatusInternalServerError && got.Status != http.StatusServiceUnavailable {
			a.open = true
		}
	}
	if err != nil {
		a.bad = err.Error()
	}
}
