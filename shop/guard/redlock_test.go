package guard

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/flashsale/shop/order"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
)

func redisClient(t *testing.T) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(redisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opt)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func lockKey(product int64) string { return fmt.Sprint("flashsale:product:", product) }

// wantFree checks that nobody holds the product's lock.
func wantFree(t *testing.T, c *redis.Client, product int64) {
	t.Helper()
	if n, err := c.Exists(context.Background(), lockKey(product)).Result(); err != nil || n != 0 {
		t.Errorf("the lock is still held: %d, %v", n, err)
	}
}

// expired returns how often it was noticed that a lock had expired.
func expired(g Guard, noticed string) float64 {
	return testutil.ToFloat64(g.(*redlock).expired.WithLabelValues(noticed))
}

// unlocks watches the commands that unlock: after every sale, and after every
// try to lock that failed.
type unlocks struct {
	mu     sync.Mutex
	ended  []bool // for each: had its context ended?
	before func()
}

func (u *unlocks) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.ended)
}

func (u *unlocks) DialHook(next redis.DialHook) redis.DialHook { return next }

func (u *unlocks) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (u *unlocks) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") {
			u.mu.Lock()
			u.ended = append(u.ended, ctx.Err() != nil)
			u.mu.Unlock()
			if u.before != nil {
				u.before()
			}
		}
		return next(ctx, cmd)
	}
}

// TestRedlockTwoProcesses: the lock is shared by all who share the Redis.
func TestRedlockTwoProcesses(t *testing.T) {
	t.Parallel()
	s := newShop(t, 8)
	a, b := s.open(t, Redlock), s.open(t, Redlock)
	p := s.product(t, 10)
	reqs := crowd(p, 64, 1)
	var answers [2][]answer
	var both sync.WaitGroup
	both.Go(func() { answers[0] = race(t, s, a, reqs[:32]) })
	both.Go(func() { answers[1] = race(t, s, b, reqs[32:]) })
	both.Wait()
	wantSold(t, append(answers[0], answers[1]...), 10)
	s.wantLeft(t, p, 0, 10)
	wantFree(t, redisClient(t), p)
}

// TestRedlockWaitEnds: somebody else has the lock. It is not stolen, and
// waiting for it ends in time.
func TestRedlockWaitEnds(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	g := s.open(t, Redlock)
	p := s.product(t, 1)
	c := redisClient(t)
	if err := c.Set(t.Context(), lockKey(p), "somebody else", patience).Err(); err != nil {
		t.Fatal(err)
	}
	_, err := g.Place(within(t, 50*time.Millisecond), buy(p, "k"))
	wantKind(t, err, order.Overloaded)
	if got, err := c.Get(t.Context(), lockKey(p)).Result(); err != nil || got != "somebody else" {
		t.Errorf("the lock is held by %q, %v", got, err)
	}
	s.wantLeft(t, p, 1, 0)

	watch := &unlocks{}
	g.(*redlock).client.AddHook(watch)
	waiter := place(t.Context(), g, buy(p, "k")) // the pool of one is free again
	until(t, "the waiter has tried several times", func() bool { return watch.count() >= 3 })
	if err := c.Del(t.Context(), lockKey(p)).Err(); err != nil {
		t.Fatal(err)
	}
	if a := <-waiter; a.err != nil {
		t.Errorf("after the lock became free: %v", a.err)
	}
	s.wantLeft(t, p, 0, 1)
	wantFree(t, c, p)
}

// TestRedlockExpiresBeforeCommit: the holder is slow, here because the test
// holds its row, and comes back to a lock that is no longer its own.
func TestRedlockExpiresBeforeCommit(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	g := s.open(t, Redlock)
	p := s.product(t, 5)
	c := redisClient(t)
	release := s.holdRow(t, p)
	slow := place(t.Context(), g, buy(p, "slow"))
	s.untilWaiting(t, 1)
	until(t, "the lock expires", func() bool { return c.Exists(t.Context(), lockKey(p)).Val() == 0 })
	// By now somebody else may have it, and must keep it.
	if err := c.Set(t.Context(), lockKey(p), "somebody else", patience).Err(); err != nil {
		t.Fatal(err)
	}
	release()
	wantKind(t, (<-slow).err, order.Overloaded)
	s.wantLeft(t, p, 5, 0)
	if n := expired(g, "before_commit"); n != 1 {
		t.Errorf("counted %v before commit, want 1", n)
	}
	if got := c.Get(t.Context(), lockKey(p)).Val(); got != "somebody else" {
		t.Errorf("somebody else's lock is now held by %q", got)
	}
	if err := c.Del(t.Context(), lockKey(p)).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := patient(within(t, patience), s, g, buy(p, "slow")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	s.wantLeft(t, p, 4, 1)
}

// TestRedlockLostAtUnlock: the order was committed under a valid lock and
// stands, but someone should know.
func TestRedlockLostAtUnlock(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(context.Context, *redis.Client, string) error{
		"expired": func(ctx context.Context, c *redis.Client, key string) error { return c.Del(ctx, key).Err() },
		"taken": func(ctx context.Context, c *redis.Client, key string) error {
			return c.Set(ctx, key, "somebody else", patience).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 1)
			g := s.open(t, Redlock)
			p := s.product(t, 5)
			c := redisClient(t)
			g.(*redlock).client.AddHook(&unlocks{before: func() {
				if err := lose(t.Context(), c, lockKey(p)); err != nil {
					t.Error(err)
				}
			}})
			r, err := g.Place(t.Context(), buy(p, "k"))
			if err != nil || r.OrderID == 0 {
				t.Errorf("Place() = %+v, %v, want an order", r, err)
			}
			s.wantLeft(t, p, 4, 1)
			if at, before := expired(g, "at_unlock"), expired(g, "before_commit"); at != 1 || before != 0 {
				t.Errorf("counted %v at unlock and %v before commit, want 1 and 0", at, before)
			}
		})
	}
}

// TestRedlockUnlocksForABuyerWhoLeft: nobody must wait for the expiry of a
// lock whose holder gave up.
func TestRedlockUnlocksForABuyerWhoLeft(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	g := s.open(t, Redlock)
	p := s.product(t, 5)
	watch := &unlocks{}
	g.(*redlock).client.AddHook(watch)
	s.holdRow(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	buyer := place(ctx, g, buy(p, "k"))
	s.untilWaiting(t, 1)
	cancel()
	wantKind(t, (<-buyer).err, order.Timeout)
	wantFree(t, redisClient(t), p)
	if len(watch.ended) == 0 || watch.ended[0] {
		t.Errorf("unlocked with a context that had ended: %v", watch.ended)
	}
	s.wantLeft(t, p, 5, 0)
}

// TestRedisGone: orders are refused in time and nothing is written; when Redis
// is back, so is the sale.
func TestRedisGone(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2)
	url, proxy := proxied(t, redisURL(t))
	g := s.openAt(t, Redlock, url)
	p := s.product(t, 5)
	if _, err := patient(within(t, patience), s, g, buy(p, "before")); err != nil {
		t.Fatal(err)
	}
	proxy.Stop()
	start := time.Now()
	_, err := g.Place(within(t, 100*time.Millisecond), buy(p, "gone"))
	wantKind(t, err, order.Overloaded)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("refused after %v", took)
	}
	s.wantLeft(t, p, 4, 1)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := patient(within(t, patience), s, g, buy(p, "gone")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	s.wantLeft(t, p, 3, 2)
}

// TestRedisGoneAtUnlock: the order stands; the lock frees itself.
func TestRedisGoneAtUnlock(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	url, proxy := proxied(t, redisURL(t))
	g := s.openAt(t, Redlock, url)
	p := s.product(t, 5)
	g.(*redlock).client.AddHook(&unlocks{before: proxy.Stop})
	if r, err := g.Place(t.Context(), buy(p, "k")); err != nil || r.OrderID == 0 {
		t.Errorf("Place() = %+v, %v, want an order", r, err)
	}
	s.wantLeft(t, p, 4, 1)
	if n := expired(g, "at_unlock"); n != 1 {
		t.Errorf("counted %v at unlock, want 1", n)
	}
	c := redisClient(t)
	until(t, "the lock expires", func() bool { return c.Exists(t.Context(), lockKey(p)).Val() == 0 })
}

// TestRedlockCannotStart covers what is said where there is no Redis.
func TestRedlockCannotStart(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ url, want string }{
		"no URL":         {"", "guard redlock needs REDIS_URL"},
		"wrong URL":      {"http://localhost", "REDIS_URL cannot be read: "},
		"nobody listens": {"redis://:secret@" + closed, "redis does not answer: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New(t.Context(), Redlock, Deps{RedisURL: tt.url, Log: slog.New(slog.DiscardHandler)})
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("New() = %v, want %q and no password", err, tt.want)
			}
		})
	}
}
