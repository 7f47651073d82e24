// Package ceiling measures what this machine's database can do at best for one hot product, without any service in front
// of it, and says how near a run came to that. The rows, indexes and random keys are those of an order, sent straight
// through the driver. A stage's figure means something only beside these, taken in the same minutes.
//
// The statements are written here and not shared with the service, which the load generator must not import.
package ceiling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Kind names a ceiling, as in result.json.
type Kind string

// The ceilings. HTTP needs a stage, with guard noop, and is measured by the caller of this package; the others are the
// database's, in orders per second of one hot product.
const (
	HTTP        Kind = "http_noop_per_second"           // decode, validate, key, encode
	Single      Kind = "hot_row_single_per_second"      // the statement of guard conditional
	Transaction Kind = "hot_row_transaction_per_second" // SELECT … FOR UPDATE, UPDATE, INSERT, COMMIT
	Batch       Kind = "hot_row_batch_per_second"       // orders per second when BatchSize are committed together
)

// BatchSize is the number of orders that Batch commits together.
const BatchSize = 500

// Warmup precedes every sample: connections are open and statements prepared by then.
const Warmup = 300 * time.Millisecond

// answerTimeout bounds the wait for the last answers of a sample.
const answerTimeout = 30 * time.Second

// connectTimeout bounds the wait for a connection.
const connectTimeout = 5 * time.Second

// Bench measures ceilings on one product of its own. Its methods must not be called concurrently.
type Bench struct {
	pool    *pgxpool.Pool
	product int64
	counts  []int        // of connections, that are tried
	best    map[Kind]int // of them, once calibrated
}

// Open connects to the database and makes a product that never sells out; a stage must have made the tables before. At
// most maxConns connections are used. The caller closes the Bench. Every session has the durability of the server.
func Open(ctx context.Context, url string, maxConns int) (*Bench, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the database URL cannot be read: %w", err)
	}
	b := &Bench{counts: connectionCounts(maxConns), best: make(map[Kind]int)}
	cfg.MaxConns = int32(b.counts[len(b.counts)-1])
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	cfg.ConnConfig.RuntimeParams["application_name"] = "loadtest-ceiling"
	// As the stages have it: no plan that scans a table which was small when it was made.
	cfg.ConnConfig.RuntimeParams["enable_seqscan"] = "off"
	b.pool, err = pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	err = b.pool.QueryRow(ctx, `INSERT INTO products (name, price_cents, stock) VALUES ('loadtest ceiling', 1999, 1000000000000) RETURNING id`).Scan(&b.product)
	if err != nil {
		b.pool.Close()
		return nil, fmt.Errorf("make a product for the ceilings: %w", err)
	}
	return b, nil
}

// connectionCounts are tried to find the best one for each kind: a hot row is fastest with few. They double up to limit.
func connectionCounts(limit int) []int {
	limit = min(max(limit, 1), 1<<10)
	var counts []int
	for n := 1; n < limit; n *= 2 {
		counts = append(counts, n)
	}
	return append(counts, limit)
}

// Close closes the connections.
func (b *Bench) Close() { b.pool.Close() }

// Measure returns the orders per second of that kind, over d, after Warmup. The first call for a kind takes longer: it
// finds the best number of connections. It blocks for as long as it measures; the error is the database's, or ctx's.
// HTTP is none of its kinds.
func (b *Bench) Measure(ctx context.Context, kind Kind, d time.Duration) (float64, error) {
	place, err := b.placer(kind)
	if err != nil {
		return 0, err
	}
	if b.best[kind] == 0 {
		if err := b.calibrate(ctx, kind, place, d/4); err != nil {
			return 0, fmt.Errorf("calibrate %s: %w", kind, err)
		}
	}
	rate, err := b.sample(ctx, place, b.best[kind], d)
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", kind, err)
	}
	return rate, nil
}

// Connections returns the number of connections that was best for that kind, 0 before it was measured.
func (b *Bench) Connections(kind Kind) int { return b.best[kind] }

// CalibrationTime returns how long the first Measure of a kind over d takes beyond that, with a Bench of at most maxConns
// connections.
func CalibrationTime(maxConns int, d time.Duration) time.Duration {
	if maxConns <= 1 {
		return 0
	}
	return time.Duration(2*len(connectionCounts(maxConns))) * (Warmup + d/4)
}

// calibrate tries every count twice, there and back, so that a machine that becomes faster or slower meanwhile favours
// none of them.
func (b *Bench) calibrate(ctx context.Context, kind Kind, place placer, d time.Duration) error {
	if len(b.counts) == 1 {
		b.best[kind] = b.counts[0]
		return nil
	}
	back := slices.Clone(b.counts)
	slices.Reverse(back)
	sums := make(map[int]float64)
	for _, n := range slices.Concat(b.counts, back) {
		rate, err := b.sample(ctx, place, n, d)
		if err != nil {
			return err
		}
		sums[n] += rate
	}
	b.best[kind] = slices.MaxFunc(b.counts, func(m, n int) int { return cmp.Compare(sums[m], sums[n]) })
	return nil
}

// placer places orders with one round trip or several, and returns how many.
type placer func(context.Context, *pgx.Conn) (int, error)

func (b *Bench) placer(kind Kind) (placer, error) {
	switch kind {
	case Single:
		return b.single, nil
	case Transaction:
		return b.transaction, nil
	case Batch:
		return b.batch, nil
	default:
		return nil, fmt.Errorf("%q is no ceiling of the database", kind)
	}
}

// sample has n connections place orders for d, and returns orders per second. An order counts when its commit is
// answered within that time. The first error ends the sample for all of them.
func (b *Bench) sample(ctx context.Context, place placer, n int, d time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, Warmup+d+answerTimeout)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var done atomic.Int64
	var stop atomic.Bool
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			err := b.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
				for !stop.Load() {
					orders, err := place(ctx, conn.Conn())
					if err != nil {
						return err
					}
					done.Add(int64(orders))
				}
				return nil
			})
			if err != nil {
				fail(err)
			}
		})
	}
	rate := measure(ctx, &done, d)
	stop.Store(true)
	workers.Wait()
	return rate, context.Cause(ctx)
}

// measure returns the rate at which done grows during d, after the warm-up; 0 when ctx ends before.
func measure(ctx context.Context, done *atomic.Int64, d time.Duration) float64 {
	wait(ctx, Warmup)
	start, before := time.Now(), done.Load()
	wait(ctx, d)
	return float64(done.Load()-before) / time.Since(start).Seconds()
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
