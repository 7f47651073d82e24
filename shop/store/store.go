// Package store holds all SQL of the service, its migrations and its
// connection pool. It is the only place that knows SQLSTATE codes: every error
// that leaves it is an *order.Error.
//
// A context ends waits and queries, never COMMIT or ROLLBACK: those run under
// a bound of their own, so that the outcome of an order does not depend on how
// patient its buyer was. A query whose context ends is cancelled on the server
// (a cancel request, as psql sends one on Ctrl-C), and its connection lives on.
package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"example.com/flashsale/shop/order"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	connectTimeout = 5 * time.Second
	// finishTimeout bounds COMMIT and ROLLBACK, which ignore the request.
	finishTimeout = 2 * time.Second
	// cancelGrace is how long a cancelled query may take to end before its
	// connection is cut.
	cancelGrace = time.Second
)

// Config says how to reach the database.
type Config struct {
	URL string
	// AppName is the application_name of every session.
	AppName string
	// MaxConns bounds the pool; connections are opened as they are needed.
	MaxConns int
	// RequestTimeout is the longest that a request may take; the server
	// gives up on a lock after it, and on a statement soon after.
	RequestTimeout time.Duration
}

// Store is a pool of database connections. It may be used concurrently.
type Store struct {
	pool *pgxpool.Pool
}

// Open connects and checks that the database answers. It blocks for at most
// five seconds. The caller closes the Store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("the database URL cannot be read: %w", err)
	}
	pc.MaxConns = int32(min(max(cfg.MaxConns, 1), 1<<15))
	pc.MinConns = 0
	pc.MaxConnLifetime = time.Hour
	pc.MaxConnLifetimeJitter = 10 * time.Minute
	prepare(pc.ConnConfig, cfg)

	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("the database does not answer: %w", err)
	}
	return &Store{pool: pool}, nil
}

// prepare sets what every session has: its name, and time-outs that end it
// when the process behind it has stopped.
func prepare(cc *pgx.ConnConfig, cfg Config) {
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	timeout := cfg.RequestTimeout
	if timeout <= 0 {
		timeout = 2 * time.Second
	}
	params := cc.RuntimeParams
	params["application_name"] = cfg.AppName
	params["lock_timeout"] = ms(timeout)
	params["statement_timeout"] = ms(timeout + 500*time.Millisecond)
	params["idle_in_transaction_session_timeout"] = ms(2 * timeout)
	// Every statement here finds its rows by an index. A plan that was made
	// and cached while a table was almost empty must not stay a scan of it.
	params["enable_seqscan"] = "off"
	cc.ConnectTimeout = connectTimeout
	cc.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: cancelGrace}
	}
}

// Close waits for connections in use, then closes the pool.
func (s *Store) Close() { s.pool.Close() }

// Ping returns nil once the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.pool.Ping(ctx) }

// User returns nil when the user exists, else a UserNotFound error.
func (s *Store) User(ctx context.Context, id int64) error {
	var found int64
	err := s.pool.QueryRow(ctx, `SELECT id FROM users WHERE id = $1`, id).Scan(&found)
	if errors.Is(err, pgx.ErrNoRows) {
		return UserNotFound(id)
	}
	return classify("look up user", err)
}

// Users returns which of the ids exist, with one query.
func (s *Store) Users(ctx context.Context, ids []int64) (map[int64]struct{}, error) {
	rows, err := s.pool.Query(ctx, `SELECT id FROM users WHERE id = ANY($1)`, ids)
	if err != nil {
		return nil, classify("look up users", err)
	}
	found := make(map[int64]struct{}, len(ids))
	var id int64
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error {
		found[id] = struct{}{}
		return nil
	})
	return found, classify("look up users", err)
}

// UserNotFound is the error for a user that does not exist.
func UserNotFound(id int64) error {
	return &order.Error{Kind: order.UserNotFound, Detail: fmt.Sprintf("there is no user %d", id)}
}

// ProductNotFound is the error for a product that does not exist.
func ProductNotFound(id int64) error {
	return &order.Error{Kind: order.ProductNotFound, Detail: fmt.Sprintf("there is no product %d", id)}
}

const selectProduct = `SELECT id, name, price_cents, stock FROM products WHERE id = $1`

// Product returns a product as it is now, or a ProductNotFound error.
func (s *Store) Product(ctx context.Context, id int64) (order.Product, error) {
	return scanProduct(s.pool.QueryRow(ctx, selectProduct, id), id)
}

// Products returns those of the products that exist, with one query.
func (s *Store) Products(ctx context.Context, ids []int64) (map[int64]order.Product, error) {
	found := make(map[int64]order.Product, len(ids))
	rows, err := s.pool.Query(ctx, `SELECT id, name, price_cents, stock FROM products WHERE id = ANY($1)`, ids)
	if err != nil {
		return nil, classify("read products", err)
	}
	var p order.Product
	_, err = pgx.ForEachRow(rows, []any{&p.ID, &p.Name, &p.PriceCents, &p.Stock}, func() error {
		found[p.ID] = p
		return nil
	})
	return found, classify("read products", err)
}

func scanProduct(row pgx.Row, id int64) (order.Product, error) {
	var p order.Product
	err := row.Scan(&p.ID, &p.Name, &p.PriceCents, &p.Stock)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, ProductNotFound(id)
	}
	return p, classify("read product", err)
}

// Order returns an order, or an OrderNotFound error.
func (s *Store) Order(ctx context.Context, id int64) (order.Order, error) {
	var o order.Order
	err := s.pool.QueryRow(ctx, `SELECT id, user_id, product_id, quantity, total_cents, status, created_at
		FROM orders WHERE id = $1`, id).
		Scan(&o.ID, &o.UserID, &o.ProductID, &o.Quantity, &o.TotalCents, &o.Status, &o.CreatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return o, &order.Error{Kind: order.OrderNotFound, Detail: fmt.Sprintf("there is no order %d", id)}
	}
	return o, classify("read order", err)
}

// Replay answers req from the order that holds its key. Without one found is
// false; an order that asked for something else is an IdempotencyConflict.
func (s *Store) Replay(ctx context.Context, req order.Request) (r order.Receipt, found bool, err error) {
	var hash []byte
	err = s.pool.QueryRow(ctx, `SELECT id, status, total_cents, created_at, request_hash
		FROM orders WHERE idempotency_key = $1`, req.Key).
		Scan(&r.OrderID, &r.Status, &r.TotalCents, &r.CreatedAt, &hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, classify("look up key", err)
	}
	if want := req.Hash(); string(hash) != string(want[:]) {
		return r, true, KeyConflict()
	}
	r.Replayed = true
	return r, true, nil
}

// KeyConflict is the error for a key that was used for another request.
func KeyConflict() error {
	return &order.Error{Kind: order.IdempotencyConflict, Detail: "this Idempotency-Key was used for another request"}
}
