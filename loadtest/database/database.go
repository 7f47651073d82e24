// Package database is the load generator's view of the database behind a stage: it
// makes a fresh product for a run, reads what is left of it afterwards, and describes
// the server.
//
// It owns no schema and shares no code with the service. The tables products, users
// and orders are there because a stage was started on the database once. No order is
// ever changed or deleted here, and a snapshot reads only orders that are newer than
// its product, so that runs do not disturb one another and need no index.
package database

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ApplicationName is that of our own sessions.
const ApplicationName = "loadtest"

// Bounds of our own sessions. A snapshot may read millions of orders.
const (
	maxConnections   = 4
	connectTimeout   = 5 * time.Second
	statementTimeout = "60s"
	lockTimeout      = "10s"
)

// ErrNoTables is wrapped by the error of every call on a database on which no stage
// has ever been started.
var ErrNoTables = errors.New("start a stage on it once, which creates its tables")

// ErrNoProduct is wrapped by the error of a call for a product that does not exist.
var ErrNoProduct = errors.New("no such product")

// DB is the load generator's access to the database of a stage. Its methods may be
// called concurrently; each blocks until the database has answered or the context
// ends.
type DB struct {
	pool *pgxpool.Pool
}

// Product is what a run sells.
type Product struct {
	ID         int64
	Initial    int64 // units at the start
	PriceCents int64 // of one unit
	First      int64 // orders of the product have higher ids than this; 0: unknown, all orders are read
}

// Connect opens the database at a URL or connection string. It returns once the
// database has answered, or an error that names the server and never the password.
// The caller must Close it.
func Connect(ctx context.Context, url string) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the database URL cannot be read: %w", err)
	}
	cfg.MaxConns = maxConnections
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	cfg.ConnConfig.RuntimeParams["application_name"] = ApplicationName
	cfg.ConnConfig.RuntimeParams["statement_timeout"] = statementTimeout
	cfg.ConnConfig.RuntimeParams["lock_timeout"] = lockTimeout
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("the database URL cannot be used: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("the database %s does not answer: %w", place(cfg.ConnConfig), err)
	}
	return &DB{pool: pool}, nil
}

// place names a database without its user's secrets.
func place(cfg *pgx.ConnConfig) string {
	return fmt.Sprintf("%q at %s port %d", cfg.Database, cfg.Host, cfg.Port)
}

// Close ends all sessions and waits for them. ConnectionSamplers must be stopped
// before.
func (d *DB) Close() { d.pool.Close() }

// NewProduct makes a product for one run. stock must not be negative and priceCents
// must be positive.
func (d *DB) NewProduct(ctx context.Context, name string, stock, priceCents int64) (Product, error) {
	p := Product{Initial: stock, PriceCents: priceCents}
	var err error
	// The order matters: an id that is handed out later is for an order of this
	// product or of another one; an id that was handed out before cannot be of it.
	if p.First, err = d.lastOrderID(ctx); err != nil {
		return Product{}, explain("cannot read the last order's number", err)
	}
	err = d.pool.QueryRow(ctx, `INSERT INTO products (name, price_cents, stock) VALUES ($1, $2, $3) RETURNING id`,
		name, priceCents, stock).Scan(&p.ID)
	if err != nil {
		return Product{}, explain("cannot make a product", err)
	}
	return p, nil
}

// lastOrderID returns the highest order id that was ever handed out, or 0 where the
// ids do not tell: there is no sequence, we may not read it, or its sessions take
// ids in stock and use them later.
func (d *DB) lastOrderID(ctx context.Context) (int64, error) {
	var last int64
	err := d.pool.QueryRow(ctx, `
		SELECT coalesce(max(last_value), 0) FROM pg_sequences
		WHERE format('%I.%I', schemaname, sequencename)::regclass = pg_get_serial_sequence('orders', 'id')::regclass
		  AND cache_size = 1 AND increment_by > 0`).Scan(&last)
	return last, err
}

// EnsureUsers makes sure that the users 1 to n exist.
func (d *DB) EnsureUsers(ctx context.Context, n int64) error {
	var there int64
	err := d.pool.QueryRow(ctx, `SELECT count(*) FROM users WHERE id BETWEEN 1 AND $1`, n).Scan(&there)
	if err != nil {
		return explain("cannot count the users", err)
	}
	if there >= n {
		return nil
	}
	err = pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error { return insertUsers(ctx, tx, n) })
	if err != nil {
		return explain("cannot make users", err)
	}
	return nil
}

// insertUsers gives the users their ids, and moves the sequence beyond them for
// those who leave the id to the database. The lock keeps those out meanwhile.
func insertUsers(ctx context.Context, tx pgx.Tx, n int64) error {
	if _, err := tx.Exec(ctx, `LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE`); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO users (id, name) SELECT i, 'user ' || i FROM generate_series(1, $1::bigint) AS i
		ON CONFLICT (id) DO NOTHING`, n)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		SELECT setval(s.name, greatest(u.highest, nextval(s.name)))
		FROM (SELECT pg_get_serial_sequence('users', 'id')::regclass AS name) AS s,
		     (SELECT max(id) AS highest FROM users) AS u
		WHERE s.name IS NOT NULL`)
	return err
}

// SQLSTATEs, from appendix A of the PostgreSQL manual.
const (
	undefinedTable  = "42P01"
	undefinedColumn = "42703"
)

// quoted finds the table's name in the server's message.
var quoted = regexp.MustCompile(`"([^"]+)"`)

// explain returns err with what could not be done, or with what is wrong with the
// database where the reason is its schema.
func explain(what string, err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return fmt.Errorf("%s: %w", what, err)
	}
	switch server.Code {
	case undefinedTable:
		table := "needed"
		if found := quoted.FindStringSubmatch(server.Message); found != nil {
			table = found[1]
		}
		return fmt.Errorf("this database has no %s table: %w", table, ErrNoTables)
	case undefinedColumn:
		return fmt.Errorf("this database has tables of another kind (%s): is it really that of a stage?", server.Message)
	}
	return fmt.Errorf("%s: %w", what, err)
}
