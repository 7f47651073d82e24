package coalesce

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
)

// asked is a query that is under way; answer ends it.
type asked struct {
	ids    []int64
	ctx    context.Context //nolint:containedctx // the test looks at its deadline
	answer chan<- reply
}

type reply struct {
	found []int64
	err   error
}

// fake returns a coalescer and the queries that it sends. Each query waits for
// its answer, or for its context.
func fake(timeout time.Duration) (*Group[struct{}], <-chan asked) {
	queries := make(chan asked, 8)
	return &Group[struct{}]{Timeout: timeout, Query: func(ctx context.Context, ids []int64) (map[int64]struct{}, error) {
		answer := make(chan reply)
		queries <- asked{slices.Sorted(slices.Values(ids)), ctx, answer}
		select {
		case r := <-answer:
			found := make(map[int64]struct{})
			for _, id := range r.found {
				found[id] = struct{}{}
			}
			return found, r.err
		case <-ctx.Done():
			return nil, &order.Error{Kind: order.Timeout, Err: ctx.Err()}
		}
	}}, queries
}

var errNotFound = &order.Error{Kind: order.UserNotFound}

// find starts a look-up and returns its answer.
func find(ctx context.Context, c *Group[struct{}], id int64) <-chan error {
	answer := make(chan error, 1)
	go func() {
		_, found, err := c.Get(ctx, id)
		if err == nil && !found {
			err = errNotFound
		}
		answer <- err
	}()
	return answer
}

// wantAsked checks the next query, which must be there already.
func wantAsked(t *testing.T, queries <-chan asked, ids ...int64) asked {
	t.Helper()
	synctest.Wait()
	select {
	case q := <-queries:
		if !slices.Equal(q.ids, ids) {
			t.Fatalf("the query asks for %v, want %v", q.ids, ids)
		}
		return q
	default:
		t.Fatalf("no query is under way, want one for %v", ids)
		return asked{}
	}
}

// wantQuiet checks that no further query was sent and that nothing runs.
func wantQuiet(t *testing.T, c *Group[struct{}], queries <-chan asked) {
	t.Helper()
	synctest.Wait()
	if len(queries) != 0 {
		t.Errorf("another query: %v", (<-queries).ids)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running || len(c.waiting) != 0 {
		t.Errorf("running %v with %d waiting, want nothing", c.running, len(c.waiting))
	}
}

func wantErrors(t *testing.T, kind order.Kind, answers ...<-chan error) {
	t.Helper()
	for i, answer := range answers {
		if err := <-answer; err == nil || order.KindOf(err) != kind {
			t.Errorf("answer %d: %v, want %v", i, err, kind)
		}
	}
}

func wantFound(t *testing.T, answers ...<-chan error) {
	t.Helper()
	for i, answer := range answers {
		if err := <-answer; err != nil {
			t.Errorf("answer %d: %v, want nil", i, err)
		}
	}
}

func TestLookUpsShareTheNextQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, queries := fake(time.Minute)
		ctx := t.Context()
		first := find(ctx, c, 1)
		q := wantAsked(t, queries, 1)
		var others []<-chan error
		for _, id := range []int64{3, 2, 3, 1, 2, 3} {
			others = append(others, find(ctx, c, id))
		}
		synctest.Wait()
		if len(queries) != 0 {
			t.Fatal("a second query was sent while one was under way")
		}
		q.answer <- reply{found: []int64{1}}
		wantFound(t, first)
		wantAsked(t, queries, 1, 2, 3).answer <- reply{found: []int64{1, 2, 3}}
		wantFound(t, others...)
		wantQuiet(t, c, queries)

		again := find(ctx, c, 5) // it starts anew after it was idle
		wantAsked(t, queries, 5).answer <- reply{found: []int64{5}}
		wantFound(t, again)
		wantQuiet(t, c, queries)
	})
}

func TestUnknownUsersAreToldApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, queries := fake(time.Minute)
		first := find(t.Context(), c, 1)
		q := wantAsked(t, queries, 1)
		known, unknown, also := find(t.Context(), c, 2), find(t.Context(), c, 3), find(t.Context(), c, 3)
		synctest.Wait()
		q.answer <- reply{}
		wantErrors(t, order.UserNotFound, first)
		wantAsked(t, queries, 2, 3).answer <- reply{found: []int64{2}}
		wantFound(t, known)
		wantErrors(t, order.UserNotFound, unknown, also)
	})
}

func TestErrorsReachAllOfTheirQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, queries := fake(time.Minute)
		first := find(t.Context(), c, 1)
		q := wantAsked(t, queries, 1)
		second, third := find(t.Context(), c, 2), find(t.Context(), c, 3)
		synctest.Wait()
		q.answer <- reply{found: []int64{1}}
		wantFound(t, first) // the error is not its own
		q = wantAsked(t, queries, 2, 3)
		later := find(t.Context(), c, 2)
		synctest.Wait()
		broken := &order.Error{Kind: order.Overloaded}
		q.answer <- reply{found: []int64{2}, err: broken}
		for _, answer := range []<-chan error{second, third} {
			if err := <-answer; !errors.Is(err, broken) {
				t.Errorf("%v, want %v", err, broken)
			}
		}
		wantAsked(t, queries, 2).answer <- reply{found: []int64{2}}
		wantFound(t, later) // a failed query does not end the coalescer
	})
}

func TestContextEndsTheWaitAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, queries := fake(time.Minute)
		before := find(t.Context(), c, 0)
		q := wantAsked(t, queries, 0)
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		first, patient := find(hasty, c, 1), find(t.Context(), c, 1)
		synctest.Wait()
		q.answer <- reply{found: []int64{0}}
		wantFound(t, before)
		q = wantAsked(t, queries, 1)
		wantErrors(t, order.Timeout, first)
		if took := time.Since(start); took != time.Second {
			t.Errorf("waited %v, want 1s", took)
		}
		if q.ctx.Err() != nil {
			t.Error("one buyer's context ended the query of all")
		}
		q.answer <- reply{found: []int64{1}}
		wantFound(t, patient)
		wantQuiet(t, c, queries)
	})
}

func TestQueryHasADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, queries := fake(3 * time.Second)
		first := find(t.Context(), c, 1)
		q := wantAsked(t, queries, 1)
		if deadline, ok := q.ctx.Deadline(); !ok || time.Until(deadline) != 3*time.Second {
			t.Errorf("deadline %v %v, want in 3s", deadline, ok)
		}
		start := time.Now()
		wantErrors(t, order.Timeout, first)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("answered after %v, want 3s", took)
		}
		wantQuiet(t, c, queries)
	})
}

func TestQueriesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const extra = 10
		c, queries := fake(time.Minute)
		first := find(t.Context(), c, 0)
		q := wantAsked(t, queries, 0)
		waiting := make([]<-chan error, maxKeys+extra)
		for i := range waiting {
			waiting[i] = find(t.Context(), c, int64(i))
		}
		synctest.Wait()
		q.answer <- reply{found: []int64{0}}
		wantFound(t, first)
		for _, want := range []int{maxKeys, extra} {
			synctest.Wait()
			q := <-queries
			if len(q.ids) != want {
				t.Errorf("a query for %d users, want %d", len(q.ids), want)
			}
			q.answer <- reply{found: q.ids}
		}
		wantFound(t, waiting...)
		wantQuiet(t, c, queries)
	})
}

// TestCoalesceStress: each look-up gets its own answer, and never two queries
// run at once.
func TestCoalesceStress(t *testing.T) {
	t.Parallel()
	const buyers, each = 32, 100
	var running, queries atomic.Int32
	c := &Group[struct{}]{Timeout: time.Minute, Query: func(_ context.Context, ids []int64) (map[int64]struct{}, error) {
		if running.Add(1) != 1 {
			t.Error("two queries at once")
		}
		defer running.Add(-1)
		queries.Add(1)
		found := make(map[int64]struct{})
		for _, id := range ids {
			if id%2 == 0 {
				found[id] = struct{}{}
			}
		}
		return found, nil
	}}
	var all sync.WaitGroup
	for b := range buyers {
		all.Go(func() {
			for n := range each {
				id := int64(b*each+n) / 4 // buyers ask for the same users, too
				_, found, err := c.Get(t.Context(), id)
				if known := id%2 == 0; err != nil || known != found {
					t.Errorf("user %d: %v", id, err)
				}
			}
		})
	}
	all.Wait()
	if n := queries.Load(); n == 0 || n > buyers*each {
		t.Errorf("%d queries for %d look-ups", n, buyers*each)
	}
}
