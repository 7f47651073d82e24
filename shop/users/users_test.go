package users

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"
)

func TestLookUpTakesTheLatency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const latency = 20 * time.Millisecond
		found := errors.New("what the query says")
		d := &Directory{latency: latency, find: func(_ context.Context, id int64) error {
			if id != 7 {
				t.Errorf("asked for user %d, want 7", id)
			}
			return found
		}}
		start := time.Now()
		if err := d.LookUp(t.Context(), 7); !errors.Is(err, found) {
			t.Errorf("LookUp() = %v, want %v", err, found)
		}
		if took := time.Since(start); took != latency {
			t.Errorf("took %v, want %v", took, latency)
		}
	})
}

// TestLatenciesOverlap: the latency belongs to each look-up; nobody queues for
// it.
func TestLatenciesOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, latency = 50, 20 * time.Millisecond
		d := &Directory{latency: latency, find: func(context.Context, int64) error { return nil }}
		start := time.Now()
		answers := make(chan error, n)
		for id := range int64(n) {
			go func() { answers <- d.LookUp(t.Context(), id) }()
		}
		for range n {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(start); took != latency {
			t.Errorf("%d look-ups took %v, want %v", n, took, latency)
		}
	})
}

func TestNoLatencyNoTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		d := &Directory{find: func(context.Context, int64) error { asked++; return nil }}
		start := time.Now()
		if err := d.LookUp(t.Context(), 1); err != nil || asked != 1 || time.Since(start) != 0 {
			t.Errorf("LookUp() = %v after %v and %d queries, want nil at once after one", err, time.Since(start), asked)
		}
	})
}

// TestLatencyAsksNobody: a guard that finds the users itself leaves only the
// simulated wait.
func TestLatencyAsksNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := Latency(20*time.Millisecond).LookUp(t.Context(), 1<<40); err != nil || time.Since(start) != 20*time.Millisecond {
			t.Errorf("LookUp() = %v after %v, want nil after 20ms", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := Latency(time.Minute).LookUp(ctx, 1)
		if order.KindOf(err) != order.Timeout {
			t.Errorf("LookUp() = %v, want a Timeout", err)
		}
	})
}

func TestContextEndsTheLatency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &Directory{latency: time.Minute, find: func(context.Context, int64) error {
			t.Error("the query was sent although the time had run out")
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := d.LookUp(ctx, 1)
		if order.KindOf(err) != order.Timeout || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("LookUp() = %v after %v, want a Timeout after 1s", err, time.Since(start))
		}
	})
}

// TestDirectories asks a real table: both kinds of directory, known and
// unknown users.
func TestDirectories(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url, drop, err := backing.NewDatabase(ctx, backing.ForTest(t).Postgres.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := drop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if err := store.Migrate(ctx, url); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(ctx, store.Config{URL: url, MaxConns: 2, RequestTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for name, d := range map[string]*Directory{
		"one by one": New(db, time.Millisecond),
		"coalesced":  Coalesced(db, time.Millisecond, 5*time.Second),
	} {
		for id, want := range map[int64]string{1: "", 10_000: "", 10_001: "there is no user 10001"} {
			err := d.LookUp(ctx, id)
			if want == "" && err != nil {
				t.Errorf("%s: user %d: %v", name, id, err)
			}
			var e *order.Error
			if want != "" && (!errors.As(err, &e) || e.Kind != order.UserNotFound || e.Detail != want) {
				t.Errorf("%s: user %d: %v, want UserNotFound: %s", name, id, err, want)
			}
		}
	}
}
