package store

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// TestMigrateTogether: processes that start at once find one schema and one
// set of seeds.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	var all errgroup.Group
	for range 8 {
		all.Go(func() error { return Migrate(t.Context(), url) })
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), url); err != nil {
		t.Errorf("once more: %v", err)
	}
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for sql, want := range map[string]int64{
		`SELECT count(*) FROM users`:                                        10_000,
		`SELECT max(id) FROM users`:                                         10_000,
		`SELECT count(*) FROM products`:                                     1,
		`SELECT id FROM products WHERE stock = 1000 AND price_cents = 1999`: 1,
		`SELECT count(*) FROM orders`:                                       0,
		`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database IN (SELECT oid FROM pg_database WHERE datname = current_database())`: 0,
		`SELECT count(*) FROM pg_indexes WHERE tablename = 'orders' AND indexdef LIKE '%product_id%'`:                                                0,
	} {
		if got := query[int64](t, pool, sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
}

func TestMigrateKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	p := s.product(t, 3, 10)
	if _, err := s.Take(t.Context(), buy(p, "k")); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), s.url); err != nil {
		t.Fatal(err)
	}
	s.wantLeft(t, p, 2, 1)
}

// TestUnreachable covers what Migrate and Open say where there is no database:
// a sentence for the terminal.
func TestUnreachable(t *testing.T) {
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
		"nobody listens": {"postgres://a:secret@" + closed + "/shop", "the database does not answer: "},
		"no URL":         {"postgres://%zz", "the database URL cannot be read: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, opened := Open(t.Context(), Config{URL: tt.url, MaxConns: 1})
			for what, err := range map[string]error{"Migrate": Migrate(t.Context(), tt.url), "Open": opened} {
				if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: %v, want %q and no password", what, err, tt.want)
				}
			}
		})
	}
}

func TestWrongDatabase(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(emptyDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	u.Path += "_gone"
	_, opened := Open(t.Context(), Config{URL: u.String(), MaxConns: 1})
	for what, err := range map[string]error{"Migrate": Migrate(t.Context(), u.String()), "Open": opened} {
		if err == nil || !strings.Contains(err.Error(), u.Path[1:]) {
			t.Errorf("%s: %v, want an error that names %s", what, err, u.Path[1:])
		}
	}
}

// TestMigrateIntoForeignTables: a database that is used for something else is
// left as it was.
func TestMigrateIntoForeignTables(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), `CREATE TABLE products (somebody_elses int)`); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), url); err == nil || !strings.HasPrefix(err.Error(), "migrate the database: ") {
		t.Errorf("Migrate() = %v", err)
	}
	if n := query[int64](t, pool, `SELECT count(*) FROM information_schema.tables WHERE table_name IN ('users', 'orders') AND table_schema = 'public'`); n != 0 {
		t.Errorf("%d of our tables were made", n)
	}
}
