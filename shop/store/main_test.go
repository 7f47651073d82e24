package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/shop/order"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for the database far more than they compute.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := backing.Main(m, backing.Options{})
	err := errors.Join(dropTemplate(), goleak.Find())
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// patience bounds what these tests wait for; none should ever take so long.
const patience = 20 * time.Second

// template is the migrated database that the tests' own are copies of.
var template struct {
	once sync.Once
	url  string
	drop func(context.Context) error
	err  error
}

func dropTemplate() error {
	if template.drop == nil {
		return nil
	}
	return template.drop(context.Background())
}

func migrated(t *testing.T) string {
	t.Helper()
	template.once.Do(func() {
		template.url, template.drop, template.err = database(t, backing.NewDatabase, backing.ForTest(t).Postgres.URL)
		if template.err == nil {
			template.err = Migrate(context.Background(), template.url)
		}
	})
	if template.err != nil {
		t.Fatal(template.err)
	}
	return template.url
}

type maker = func(context.Context, string) (url string, drop func(context.Context) error, err error)

// database makes a database. drop does nothing where the whole server is
// thrown away at the end, because DROP DATABASE waits for a checkpoint.
func database(t *testing.T, create maker, from string) (url string, drop func(context.Context) error, err error) {
	t.Helper()
	url, drop, err = create(context.Background(), from)
	switch backing.ForTest(t).Postgres.Source {
	case backing.LocalBinaries, backing.Container:
		drop = func(context.Context) error { return nil }
	}
	return url, drop, err
}

// emptyDatabase returns the URL of a database of this test's own.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	return ownDatabase(t, backing.NewDatabase, backing.ForTest(t).Postgres.URL)
}

func ownDatabase(t *testing.T, create maker, from string) string {
	t.Helper()
	url, drop, err := database(t, create, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := drop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return url
}

// shop is a migrated database with one store, and a pool beside it for what
// the test does behind the store's back.
type shop struct {
	*Store
	url   string
	admin *pgxpool.Pool
}

func newShop(t *testing.T, cfg Config) *shop {
	t.Helper()
	url := ownDatabase(t, backing.CloneDatabase, migrated(t))
	s := &shop{url: url}
	var err error
	if s.admin, err = pgxpool.New(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.admin.Close)
	if cfg.URL == "" {
		cfg.URL = url
	}
	s.Store = openStore(t, cfg)
	return s
}

func openStore(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = patience
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 2
	}
	if cfg.AppName == "" {
		cfg.AppName = "store-test"
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// product makes a product and returns its id.
func (s *shop) product(t *testing.T, stock, price int64) int64 {
	t.Helper()
	return query[int64](t, s.admin, `INSERT INTO products (name, price_cents, stock) VALUES ('test', $1, $2) RETURNING id`, price, stock)
}

func (s *shop) stock(t *testing.T, product int64) int64 {
	t.Helper()
	return query[int64](t, s.admin, `SELECT stock FROM products WHERE id = $1`, product)
}

// orders counts the orders of a product.
func (s *shop) orders(t *testing.T, product int64) int64 {
	t.Helper()
	return query[int64](t, s.admin, `SELECT count(*) FROM orders WHERE product_id = $1`, product)
}

// wantLeft checks both sides of a sale.
func (s *shop) wantLeft(t *testing.T, product, stock, orders int64) {
	t.Helper()
	if gotStock, gotOrders := s.stock(t, product), s.orders(t, product); gotStock != stock || gotOrders != orders {
		t.Errorf("stock %d and %d orders, want %d and %d", gotStock, gotOrders, stock, orders)
	}
}

// query returns the one value of a query.
func query[T any](t *testing.T, pool *pgxpool.Pool, sql string, args ...any) T {
	t.Helper()
	rows, err := pool.Query(context.Background(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// holdRow locks the product's row in a session of the test. release lets go of
// it; it may be called more than once.
func (s *shop) holdRow(t *testing.T, product int64) (release func()) {
	t.Helper()
	tx, err := s.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release = func() { _ = tx.Rollback(context.Background()) }
	t.Cleanup(release)
	if _, err := tx.Exec(t.Context(), `SELECT 1 FROM products WHERE id = $1 FOR UPDATE`, product); err != nil {
		t.Fatal(err)
	}
	return release
}

// sessions counts the sessions of this database that match a condition.
func (s *shop) sessions(t *testing.T, where string) int64 {
	t.Helper()
	return query[int64](t, s.admin, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND `+where)
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// shortly returns a context that ends soon.
func shortly(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// wantKind checks the kind of an error, and that it is an *order.Error: no
// other may leave the package.
func wantKind(t *testing.T, err error, kind order.Kind) {
	t.Helper()
	var e *order.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("%v (%T), want %v", err, err, kind)
	}
}

// begin returns a transaction. It is released at the end of the test, if the
// test has not done so: the pool would wait for it.
func (s *shop) begin(t *testing.T) *Tx {
	t.Helper()
	tx, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Release(context.Background()) })
	return tx
}

// buy is an order for one unit.
func buy(product int64, key string) order.Request {
	return order.Request{UserID: 1, ProductID: product, Quantity: 1, Key: key}
}
