// Package ceiling measures what this machine's database can do at best for one hot product, without any service in front
// of it: the same rows, indexes and random keys as an order has, straight through the driver. A stage's figure means
// something only beside these, taken in the same minutes.
//
// The statements are written here and not shared with the service, which the load generator must not import.
package ceiling

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Kind names a ceiling, as in result.json.
type Kind string

// The database's ceilings. That of HTTP needs a stage, and is measured by its caller.
const (
	Single      Kind = "hot_row_single_per_second"      // the statement of guard conditional
	Transaction Kind = "hot_row_transaction_per_second" // SELECT … FOR UPDATE, UPDATE, INSERT, COMMIT
	Batch       Kind = "hot_row_batch_per_second"       // orders per second when BatchSize are committed together
)

// BatchSize is the number of orders that Batch commits together.
const BatchSize = 500

// connectionCounts are tried to find the best one for each kind: a hot row is fastest with few.
var connectionCounts = []int{1, 2, 4, 8}

// warmup precedes every sample: connections are open and statements prepared by then.
const warmup = 200 * time.Millisecond

// Bench measures ceilings on one product of its own. Its methods must not be called concurrently.
type Bench struct {
	pool    *pgxpool.Pool
	product int64
	best    map[Kind]int // connections, once calibrated
}

// Open connects to the database and makes a product that never sells out. The caller closes the Bench. Every session has
// the durability settings of the server.
func Open(ctx context.Context, url string) (*Bench, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the database URL cannot be read: %w", err)
	}
	cfg.MaxConns = int32(connectionCounts[len(connectionCounts)-1])
	cfg.ConnConfig.RuntimeParams["application_name"] = "loadtest-ceiling"
	// As the stages have it: no plan that scans a table which was small when it was made.
	cfg.ConnConfig.RuntimeParams["enable_seqscan"] = "off"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	b := &Bench{pool: pool, best: make(map[Kind]int)}
	err = pool.QueryRow(ctx, `INSERT INTO products (name, price_cents, stock) VALUES ('loadtest ceiling', 1999, 1000000000000) RETURNING id`).Scan(&b.product)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("make a product for the ceilings: %w", err)
	}
	return b, nil
}

// Close closes the connections.
func (b *Bench) Close() { b.pool.Close() }

// Measure returns the orders per second of that kind, over d. The first call for a kind takes longer: it finds the best
// number of connections. It blocks for as long as it measures; the error is the database's, or ctx's.
func (b *Bench) Measure(ctx context.Context, kind Kind, d time.Duration) (float64, error) {
	if b.best[kind] == 0 {
		if err := b.calibrate(ctx, kind, d/2); err != nil {
			return 0, err
		}
	}
	return b.sample(ctx, kind, b.best[kind], d)
}

// Connections returns the number of connections that was best for that kind, 0 before it was measured.
func (b *Bench) Connections(kind Kind) int { return b.best[kind] }

func (b *Bench) calibrate(ctx context.Context, kind Kind, d time.Duration) error {
	var top float64
	for _, n := range connectionCounts {
		rate, err := b.sample(ctx, kind, n, d)
		if err != nil {
			return err
		}
		if rate > top {
			top, b.best[kind] = rate, n
		}
	}
	return nil
}

// sample has n connections place orders for d, and returns orders per second.
func (b *Bench) sample(ctx context.Context, kind Kind, n int, d time.Duration) (float64, error) {
	place, size := b.place(kind)
	ctx, cancel := context.WithTimeout(ctx, warmup+d+30*time.Second)
	defer cancel()
	var done atomic.Int64
	var measuring, stop atomic.Bool
	var workers sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		workers.Go(func() {
			errs[i] = b.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
				for !stop.Load() {
					if err := place(ctx, conn.Conn()); err != nil {
						return err
					}
					if measuring.Load() {
						done.Add(size)
					}
				}
				return nil
			})
		})
	}
	err := wait(ctx, warmup)
	start := time.Now()
	measuring.Store(true)
	if err == nil {
		err = wait(ctx, d)
	}
	rate := float64(done.Load()) / time.Since(start).Seconds()
	stop.Store(true)
	workers.Wait()
	return rate, errors.Join(err, errors.Join(errs...))
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// place returns what places orders of that kind, and how many it places at once.
func (b *Bench) place(kind Kind) (place func(context.Context, *pgx.Conn) error, size int64) {
	switch kind {
	case Transaction:
		return b.transaction, 1
	case Batch:
		return b.batch, BatchSize
	default:
		return b.single, 1
	}
}

const insertOrder = `INSERT INTO orders (user_id, product_id, quantity, total_cents, status, idempotency_key, request_hash)`

func (b *Bench) single(ctx context.Context, conn *pgx.Conn) error {
	var id int64
	var at time.Time
	return conn.QueryRow(ctx, `WITH taken AS (
			UPDATE products SET stock = stock - $3 WHERE id = $2 AND stock >= $3 RETURNING price_cents)
		`+insertOrder+` SELECT $1, $2, $3, price_cents * $3, 'created', $4, $5 FROM taken RETURNING id, created_at`,
		int64(1), b.product, int64(1), uuid.NewString(), hash()).Scan(&id, &at)
}

func (b *Bench) transaction(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var price, stock int64
		if err := tx.QueryRow(ctx, `SELECT price_cents, stock FROM products WHERE id = $1 FOR UPDATE`, b.product).Scan(&price, &stock); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE products SET stock = $2 WHERE id = $1`, b.product, stock-1); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, insertOrder+` VALUES ($1, $2, 1, $3, 'created', $4, $5)`, int64(1), b.product, price, uuid.NewString(), hash())
		return err
	})
}

func (b *Bench) batch(ctx context.Context, conn *pgx.Conn) error {
	keys, hashes := make([]string, BatchSize), make([][]byte, BatchSize)
	for i := range keys {
		keys[i], hashes[i] = uuid.NewString(), hash()
	}
	_, err := conn.Exec(ctx, `WITH taken AS (
			UPDATE products SET stock = stock - $2 WHERE id = $1 AND stock >= $2 RETURNING price_cents)
		`+insertOrder+` SELECT 1, $1, 1, price_cents, 'created', n.key, n.hash
		FROM taken, unnest($3::text[], $4::bytea[]) AS n (key, hash)`,
		b.product, int64(BatchSize), keys, hashes)
	return err
}

// hash returns as many random bytes as the hash of a request has.
func hash() []byte {
	h := make([]byte, 32)
	_, _ = rand.Read(h) // never fails
	return h
}
