package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

const (
	// lockExpiry frees the lock of a holder that died. It is shorter than a
	// request may take, so that the next buyer still has time.
	lockExpiry = time.Second
	// lockMargin is what COMMIT may take of the lock's validity.
	lockMargin = 200 * time.Millisecond
	// unlockTimeout bounds the unlock, which ignores the request's context.
	unlockTimeout = 500 * time.Millisecond
)

// redlock sells one order per product at a time, across all processes that
// share the Redis (https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/).
//
// It is not proof against pauses. Validity is checked right before COMMIT, but
// a process that stops between that check and the COMMIT, for longer than the
// lock lives, still commits what it computed from an old stock. Only a fencing
// token that the database checks would stop it.
type redlock struct {
	db      *store.Store
	client  *redis.Client
	sync    *redsync.Redsync
	log     *slog.Logger
	expired *prometheus.CounterVec
}

func openRedlock(ctx context.Context, d Deps) (Guard, error) {
	if d.RedisURL == "" {
		return nil, errors.New("guard redlock needs REDIS_URL")
	}
	opt, err := redis.ParseURL(d.RedisURL)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL cannot be read: %w", err)
	}
	opt.ContextTimeoutEnabled = true
	opt.DialerRetries = 1 // whoever waits for a lock tries again anyway
	redis.SetLogger(redisLog{d.Log})
	client := redis.NewClient(opt)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("redis does not answer: %w; start one, or choose a guard that needs none", err)
	}
	g := &redlock{
		db: d.Store, client: client, sync: redsync.New(goredis.NewPool(client)), log: d.Log,
		expired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_redlock_expired_total",
			Help: "Locks that expired while they were held, by when it was noticed.",
		}, []string{"noticed"}),
	}
	if d.Metrics != nil {
		d.Metrics.MustRegister(g.expired)
	}
	return g, nil
}

// newMutex sets every option, because the defaults are made for other work:
// they poll every 50 to 250 ms, 32 times.
func (g *redlock) newMutex(productID int64) *redsync.Mutex {
	return g.sync.NewMutex("flashsale:product:"+strconv.FormatInt(productID, 10),
		redsync.WithExpiry(lockExpiry),
		redsync.WithTries(math.MaxInt32), // until the context ends
		redsync.WithRetryDelayFunc(func(int) time.Duration {
			return time.Millisecond + rand.N(3*time.Millisecond)
		}),
		redsync.WithDriftFactor(0.01),
		redsync.WithTimeoutFactor(0.1), // of the expiry, per call
		redsync.WithFailFast(true),
	)
}

func (g *redlock) Place(ctx context.Context, req order.Request) (order.Receipt, error) {
	tx, err := g.db.Begin(ctx) // the connection first, as in mutex
	if err != nil {
		return order.Receipt{}, err
	}
	defer tx.Release(ctx)
	lock := g.newMutex(req.ProductID)
	if err := lock.LockContext(ctx); err != nil {
		return order.Receipt{}, &order.Error{Kind: order.Overloaded, Detail: "the lock of this product could not be had, try again", Op: "redlock", Err: err}
	}
	defer g.unlock(ctx, lock, req.ProductID)
	defer tx.Rollback(ctx) // before the unlock; does nothing after COMMIT
	return readCheckWrite(ctx, tx, req, func() error {
		if time.Until(lock.Until()) > lockMargin {
			return nil
		}
		g.expired.WithLabelValues("before_commit").Inc()
		return order.Overload("the lock of this product expired, try again")
	})
}

// unlock frees the lock. One that has expired by now was valid when COMMIT was
// sent, so the order stands; but someone should know.
func (g *redlock) unlock(ctx context.Context, lock *redsync.Mutex, productID int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	ok, err := lock.UnlockContext(ctx)
	if ok && err == nil {
		return
	}
	g.expired.WithLabelValues("at_unlock").Inc()
	g.log.Warn("the lock was lost before it was unlocked", "product_id", productID, "error", err)
}

func (g *redlock) Close() error { return g.client.Close() }

// redisLog passes on what go-redis logs, which our own errors say better.
type redisLog struct{ log *slog.Logger }

// Printf implements go-redis's logger.
func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, v...))
}
