package guard

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for the database far more than they compute.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := backing.Main(m, backing.Options{Redis: true, Embedded: true})
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// patience bounds what these tests wait for; none should ever take so long.
const patience = 30 * time.Second

// shop is a migrated database of one test, a store of so many connections, and
// a pool for what the test does behind the store's back.
type shop struct {
	*store.Store
	name  string // the application_name of the store's sessions
	admin *pgxpool.Pool
}

func newShop(t *testing.T, conns int) *shop {
	t.Helper()
	postgres := backing.ForTest(t).Postgres
	dbURL, drop, err := backing.NewDatabase(t.Context(), postgres.URL)
	if err != nil {
		t.Fatal(err)
	}
	if postgres.Source != backing.LocalBinaries && postgres.Source != backing.Container {
		t.Cleanup(func() { // where the server is not thrown away as a whole
			if err := drop(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	if err := store.Migrate(t.Context(), dbURL); err != nil {
		t.Fatal(err)
	}
	s := &shop{name: "guard-test"}
	s.Store, err = store.Open(t.Context(), store.Config{URL: dbURL, AppName: s.name, MaxConns: conns, RequestTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if s.admin, err = pgxpool.New(t.Context(), dbURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.admin.Close)
	return s
}

// open returns a guard that is closed at the end of the test.
func (s *shop) open(t *testing.T, name string) Guard {
	t.Helper()
	return s.openAt(t, name, redisURL(t))
}

func (s *shop) openAt(t *testing.T, name, redisURL string) Guard {
	t.Helper()
	g, err := New(t.Context(), name, Deps{
		Store: s.Store, RedisURL: redisURL, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func redisURL(t *testing.T) string {
	t.Helper()
	return backing.ForTest(t).Redis.URL
}

// product makes a product that costs 10 cents. Products of all databases share
// one Redis, so their ids are far apart.
func (s *shop) product(t *testing.T, stock int64) int64 {
	t.Helper()
	id := time.Now().UnixNano()
	if _, err := s.admin.Exec(t.Context(), `INSERT INTO products (id, name, price_cents, stock) VALUES ($1, 'test', 10, $2)`, id, stock); err != nil {
		t.Fatal(err)
	}
	return id
}

func (s *shop) count(t *testing.T, sql string, args ...any) int64 {
	t.Helper()
	rows, err := s.admin.Query(context.Background(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// wantLeft checks both sides of a sale.
func (s *shop) wantLeft(t *testing.T, product, stock, orders int64) {
	t.Helper()
	gotStock := s.count(t, `SELECT stock FROM products WHERE id = $1`, product)
	gotOrders := s.count(t, `SELECT count(*) FROM orders WHERE product_id = $1`, product)
	if gotStock != stock || gotOrders != orders {
		t.Errorf("stock %d and %d orders, want %d and %d", gotStock, gotOrders, stock, orders)
	}
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

// untilWaiting blocks until n of the store's sessions wait for a row.
func (s *shop) untilWaiting(t *testing.T, n int64) {
	t.Helper()
	until(t, fmt.Sprintf("%d sessions wait for the row", n), func() bool {
		return s.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1
			AND wait_event_type = 'Lock'`, s.name) == n
	})
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

// wantKind checks the kind of an error, and that it is an *order.Error.
func wantKind(t *testing.T, err error, kind order.Kind) {
	t.Helper()
	var e *order.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("%v (%T), want %v", err, err, kind)
	}
}

// within returns a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// buy is an order for one unit.
func buy(product int64, key string) order.Request {
	return order.Request{UserID: 1, ProductID: product, Quantity: 1, Key: key}
}

// answer is what Place returned.
type answer struct {
	receipt order.Receipt
	err     error
}

// place calls Place in a goroutine of its own.
func place(ctx context.Context, p Placer, req order.Request) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		r, err := p.Place(ctx, req)
		c <- answer{r, err}
	}()
	return c
}

// proxied returns the URL of a service through a proxy that can be stopped and
// started.
func proxied(t *testing.T, service string) (string, *toxiproxy.Proxy) {
	t.Helper()
	u, err := url.Parse(service)
	if err != nil || u.Host == "" || strings.HasPrefix(u.Host, "/") {
		t.Fatalf("%q is no URL with a host: %v", service, err)
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", u.Host)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	u.Host = p.Listen
	return u.String(), p
}
