package guard

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/flashsale/shop/order"
)

// wantEmpty checks that no lock is held or waited for.
func wantEmpty(t *testing.T, l *locks) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.held) != 0 {
		t.Errorf("%d locks are left: %v", len(l.held), l.held)
	}
}

func TestLocksExclude(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l locks
		unlock, err := l.lock(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		other, err := l.lock(t.Context(), 2) // another product is another lock
		if err != nil {
			t.Fatal(err)
		}
		other()
		got := make(chan func())
		go func() {
			unlock, err := l.lock(t.Context(), 1)
			if err != nil {
				t.Error(err)
			}
			got <- unlock
		}()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("two hold one lock")
		default:
		}
		unlock()
		(<-got)()
		wantEmpty(t, &l)
	})
}

func TestLocksEndWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l locks
		unlock, err := l.lock(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = l.lock(within(t, time.Second), 1)
		wantKind(t, err, order.Overloaded)
		if took := time.Since(start); took != time.Second {
			t.Errorf("waited %v, want 1s", took)
		}
		if l.held[1].users != 1 {
			t.Errorf("%d users, want the holder alone", l.held[1].users)
		}
		unlock()
		wantEmpty(t, &l)
	})
}

// TestLocksStress: a counter per product that only the lock protects, and
// waiters that give up at any moment.
func TestLocksStress(t *testing.T) {
	t.Parallel()
	const buyers, each, products = 16, 200, 3
	var l locks
	var counters [products]int // guarded by the locks: the race detector watches
	var all sync.WaitGroup
	var mu sync.Mutex
	sold := 0
	for b := range buyers {
		all.Go(func() {
			for n := range each {
				ctx, cancel := context.WithCancel(t.Context())
				if (b+n)%4 == 0 {
					go cancel()
				}
				id := (b + n) % products
				unlock, err := l.lock(ctx, int64(id))
				cancel()
				if err != nil {
					continue
				}
				counters[id]++
				unlock()
				mu.Lock()
				sold++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	wantEmpty(t, &l)
	if total := counters[0] + counters[1] + counters[2]; total != sold || sold < buyers*each/2 {
		t.Errorf("counted %d, want %d, and at least half of %d", total, sold, buyers*each)
	}
}

// TestMutexTwoProcesses: two of them know nothing of each other.
func TestMutexTwoProcesses(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	oversell(t, s, s.open(t, Mutex), s.open(t, Mutex))
}

// TestMutexWaitEnds: a waiting buyer gives up in time, with nothing written,
// and gives its connection back.
func TestMutexWaitEnds(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	g := s.open(t, Mutex).(*mutex)
	p := s.product(t, 5)
	release := s.holdRow(t, p)
	holder := place(t.Context(), g, buy(p, "holder"))
	s.untilWaiting(t, 1)
	for i := range 3 {
		_, err := g.Place(within(t, 20*time.Millisecond), buy(p, "waiter "+strconv.Itoa(i)))
		wantKind(t, err, order.Overloaded)
	}
	if n := s.count(t, `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()
		AND xact_start IS NOT NULL`, s.name); n != 1 {
		t.Errorf("%d transactions are open, want the holder's alone", n)
	}
	release()
	if a := <-holder; a.err != nil {
		t.Errorf("holder: %v", a.err)
	}
	wantEmpty(t, &g.locks)
	s.wantLeft(t, p, 4, 1)
}

// TestMutexIsFreedByEveryEnding: refusals, failures and a holder that gives up
// in the middle free the lock as a sale does.
func TestMutexIsFreedByEveryEnding(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	g := s.open(t, Mutex).(*mutex)
	p := s.product(t, 1)
	_, err := g.Place(t.Context(), buy(1<<40, "k"))
	wantKind(t, err, order.ProductNotFound)

	release := s.holdRow(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	holder := place(ctx, g, buy(p, "k"))
	s.untilWaiting(t, 1)
	cancel()
	wantKind(t, (<-holder).err, order.Timeout)
	release()

	if _, err := g.Place(t.Context(), buy(p, "k")); err != nil {
		t.Error(err)
	}
	_, err = g.Place(t.Context(), buy(p, "k2"))
	wantKind(t, err, order.OutOfStock)
	wantEmpty(t, &g.locks)
	s.wantLeft(t, p, 0, 1)
}

// TestRowlockWaitEnds: likewise, but the database holds the lock.
func TestRowlockWaitEnds(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	g := s.open(t, Rowlock)
	p := s.product(t, 1)
	release := s.holdRow(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waiter := place(ctx, g, buy(p, "k"))
	s.untilWaiting(t, 1)
	cancel()
	wantKind(t, (<-waiter).err, order.Timeout)
	release()
	if _, err := g.Place(t.Context(), buy(p, "k")); err != nil {
		t.Error(err)
	}
	s.wantLeft(t, p, 0, 1)
}
