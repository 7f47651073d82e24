package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"example.com/flashsale/shop/order"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestClassify is the table of what an error means; the tests below get the
// same errors from a real server.
func TestClassify(t *testing.T) {
	t.Parallel()
	pg := func(code, constraint string) error {
		return fmt.Errorf("query: %w", &pgconn.PgError{Code: code, ConstraintName: constraint})
	}
	sold := order.SoldOut()
	for name, tt := range map[string]struct {
		err              error
		inside, atCommit order.Kind
	}{
		"key taken":             {pg("23505", "orders_idempotency_key"), order.DuplicateKey, order.DuplicateKey},
		"another unique index":  {pg("23505", "users_pkey"), order.Internal, order.Internal},
		"check":                 {pg("23514", "products_stock_check"), order.Internal, order.Internal},
		"no such table":         {pg("42P01", ""), order.Internal, order.Internal},
		"lock_timeout":          {pg("55P03", ""), order.Overloaded, order.Overloaded},
		"cancelled":             {pg("57014", ""), order.Timeout, order.Timeout},
		"too many connections":  {pg("53300", ""), order.Overloaded, order.Overloaded},
		"terminated":            {pg("57P01", ""), order.Overloaded, order.Timeout},
		"crash":                 {pg("57P02", ""), order.Overloaded, order.Timeout},
		"starting":              {pg("57P03", ""), order.Overloaded, order.Timeout},
		"idle in transaction":   {pg("25P03", ""), order.Overloaded, order.Timeout},
		"a code cut short":      {pg("57P", ""), order.Internal, order.Internal},
		"connection closed":     {io.ErrUnexpectedEOF, order.Overloaded, order.Timeout},
		"connection reset":      {&net.OpError{Op: "read", Err: errors.New("reset")}, order.Overloaded, order.Timeout},
		"deadline":              {context.DeadlineExceeded, order.Timeout, order.Timeout},
		"buyer left":            {fmt.Errorf("x: %w", context.Canceled), order.Timeout, order.Timeout},
		"it has a kind already": {sold, order.OutOfStock, order.OutOfStock},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for where, got := range map[string]struct {
				err  error
				want order.Kind
			}{
				"classify":       {classify("op", tt.err), tt.inside},
				"classifyCommit": {classifyCommit("op", tt.err), tt.atCommit},
			} {
				var e *order.Error
				if !errors.As(got.err, &e) || e.Kind != got.want {
					t.Errorf("%s: %v, want %v", where, got.err, got.want)
				}
				if !errors.Is(got.err, tt.err) {
					t.Errorf("%s: %v does not keep its cause", where, got.err)
				}
				if e.Kind == order.Internal && e.Detail != "" {
					t.Errorf("%s: an internal error tells the buyer %q", where, e.Detail)
				}
			}
		})
	}
	if classify("op", nil) != nil || classifyCommit("op", nil) != nil || classifyAcquire(nil) != nil {
		t.Error("no error became one")
	}
}

// TestLockTimeout: somebody else holds the row for too long.
func TestLockTimeout(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{RequestTimeout: 300 * time.Millisecond})
	p := s.product(t, 5, 10)
	release := s.holdRow(t, p)
	ctx := t.Context()

	_, err := s.Take(ctx, buy(p, "take"))
	wantKind(t, err, order.Overloaded)

	tx := s.begin(t)
	_, err = tx.LockProduct(ctx, p)
	wantKind(t, err, order.Overloaded)
	tx.Release(ctx)

	tx = s.begin(t)
	product, err := tx.Product(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.Write(ctx, buy(p, "write"), product, 4)
	wantKind(t, err, order.Overloaded)
	tx.Release(ctx)

	release()
	if _, err := s.Take(ctx, buy(p, "take")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	s.wantLeft(t, p, 4, 1)
}

// TestStatementTimeout: the server itself ends what takes too long.
func TestStatementTimeout(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{RequestTimeout: 50 * time.Millisecond})
	_, err := s.pool.Exec(t.Context(), `SELECT pg_sleep(60)`)
	wantKind(t, classify("sleep", err), order.Timeout)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != queryCanceled {
		t.Errorf("%v, want SQLSTATE %s", err, queryCanceled)
	}
}

// TestContextEndsAWait: the statement is cancelled on the server, nothing was
// written, and the connection, the only one, lives on.
func TestContextEndsAWait(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]func(context.Context, *shop, int64) error{
		"take": func(ctx context.Context, s *shop, p int64) error {
			_, err := s.Take(ctx, buy(p, "k"))
			return err
		},
		"lock product": func(ctx context.Context, s *shop, p int64) error {
			tx, err := s.Begin(ctx)
			if err != nil {
				return err
			}
			defer tx.Release(ctx)
			_, err = tx.LockProduct(ctx, p)
			return err
		},
		"write": func(ctx context.Context, s *shop, p int64) error {
			tx, err := s.Begin(ctx)
			if err != nil {
				return err
			}
			defer tx.Release(ctx)
			product, err := tx.Product(ctx, p)
			if err == nil {
				_, err = tx.Write(ctx, buy(p, "k"), product, product.Stock-1)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, Config{MaxConns: 1})
			p := s.product(t, 5, 10)
			before := query[int32](t, s.pool, `SELECT pg_backend_pid()`)
			release := s.holdRow(t, p)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			failed := make(chan error, 1)
			go func() { failed <- wait(ctx, s, p) }()
			until(t, "the statement waits for the row", func() bool {
				return s.sessions(t, `application_name = 'store-test' AND wait_event_type = 'Lock'`) == 1
			})
			cancel()
			wantKind(t, <-failed, order.Timeout)
			if after := query[int32](t, s.pool, `SELECT pg_backend_pid()`); after != before {
				t.Errorf("session %d instead of %d: the connection was thrown away", after, before)
			}
			s.wantLeft(t, p, 5, 0)
			release()
			if _, err := s.Take(t.Context(), buy(p, "k")); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			s.wantLeft(t, p, 4, 1)
		})
	}
}

// TestSessionTerminated: an administrator ends the session in the middle of an
// order.
func TestSessionTerminated(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 1})
	p := s.product(t, 5, 10)
	ctx := t.Context()
	for name, tt := range map[string]struct {
		last func(*Tx, order.Product) error
		want []order.Kind
	}{
		"before the write": {func(tx *Tx, product order.Product) error {
			_, err := tx.Write(ctx, buy(p, "k"), product, 4)
			return err
		}, []order.Kind{order.Overloaded}},
		// Whether the answer tells that COMMIT was never executed depends on
		// how the connection broke; a Timeout makes no promise.
		"before the commit": {func(tx *Tx, _ order.Product) error {
			return tx.Commit(ctx)
		}, []order.Kind{order.Timeout, order.Overloaded}},
	} {
		tx := s.begin(t)
		product, err := tx.Product(ctx, p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name == "before the commit" {
			if _, err := tx.Write(ctx, buy(p, "k"), product, 4); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if n := query[int64](t, s.admin, `SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE application_name = 'store-test' AND datname = current_database()`); n != 1 {
			t.Fatalf("%s: %d sessions were ended, want 1", name, n)
		}
		wantOneOf(t, tt.last(tx, product), tt.want...)
		tx.Release(ctx)
		s.wantLeft(t, p, 5, 0)
	}
	if _, err := s.Take(ctx, buy(p, "k")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	s.wantLeft(t, p, 4, 1)
}

func wantOneOf(t *testing.T, err error, kinds ...order.Kind) {
	t.Helper()
	var e *order.Error
	if !errors.As(err, &e) {
		t.Errorf("%v (%T), want one of %v", err, err, kinds)
		return
	}
	for _, k := range kinds {
		if e.Kind == k {
			return
		}
	}
	t.Errorf("%v, want one of %v", err, kinds)
}

// TestConnectionRefused: the database is gone, and comes back.
func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	s, proxy := behind(t, Config{MaxConns: 1})
	p := s.product(t, 5, 10)
	ctx := t.Context()
	if err := s.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	proxy.Stop()
	for range 2 { // first the pooled connection, which is broken, then a new one
		_, err := s.Take(ctx, buy(p, "k"))
		wantOneOf(t, err, order.Overloaded, order.Timeout)
	}
	_, err := s.Begin(ctx)
	wantKind(t, err, order.Overloaded)
	wantKind(t, s.User(ctx, 1), order.Overloaded)
	if s.Ping(ctx) == nil {
		t.Error("Ping() = nil without a database")
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Take(ctx, buy(p, "k")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	s.wantLeft(t, p, 4, 1)
}

// TestCommitNotAnswered: the server committed, but nobody heard. That is a
// Timeout, and the order is there.
func TestCommitNotAnswered(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(*proxy, *testing.T){
		"connection cut": (*proxy).cutAnswers,
		"silence":        (*proxy).swallowAnswers, // for as long as COMMIT may take
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, proxy := behind(t, Config{MaxConns: 1})
			p := s.product(t, 5, 10)
			ctx := t.Context()
			tx := s.begin(t)
			product, err := tx.Product(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			req := buy(p, "k")
			placed, err := tx.Write(ctx, req, product, 4)
			if err != nil {
				t.Fatal(err)
			}
			cut(proxy, t)
			start := time.Now()
			wantKind(t, tx.Commit(ctx), order.Timeout)
			if took := time.Since(start); took > finishTimeout+cancelGrace+5*time.Second {
				t.Errorf("COMMIT took %v", took)
			}
			tx.Release(ctx)
			until(t, "the order is there", func() bool { return s.orders(t, p) == 1 })
			proxy.mend(t)
			again, found, err := s.Replay(ctx, req)
			if err != nil || !found || again.OrderID != placed.OrderID {
				t.Errorf("Replay() = %+v, %v, %v, want order %d", again, found, err, placed.OrderID)
			}
			s.wantLeft(t, p, 4, 1)
		})
	}
}

// TestTakeNotAnswered: likewise where one statement is the whole order.
func TestTakeNotAnswered(t *testing.T) {
	t.Parallel()
	s, proxy := behind(t, Config{MaxConns: 1})
	p := s.product(t, 5, 10)
	ctx := t.Context()
	if _, err := s.Take(ctx, buy(p, "warm-up")); err != nil { // the statement is prepared now
		t.Fatal(err)
	}
	proxy.cutAnswers(t)
	_, err := s.Take(ctx, buy(p, "k"))
	wantKind(t, err, order.Timeout)
	until(t, "the order is there", func() bool { return s.orders(t, p) == 2 })
	proxy.mend(t)
	if _, found, err := s.Replay(ctx, buy(p, "k")); !found || err != nil {
		t.Errorf("Replay() = %v, %v", found, err)
	}
	s.wantLeft(t, p, 3, 2)
}

// TestCommitNotSent: the connection breaks before COMMIT arrives. Nothing was
// written, and the answer does not say otherwise.
func TestCommitNotSent(t *testing.T) {
	t.Parallel()
	s, proxy := behind(t, Config{MaxConns: 1})
	p := s.product(t, 5, 10)
	ctx := t.Context()
	tx := s.begin(t)
	product, err := tx.Product(ctx, p)
	if err == nil {
		_, err = tx.Write(ctx, buy(p, "k"), product, 4)
	}
	if err != nil {
		t.Fatal(err)
	}
	proxy.cutRequests(t)
	wantOneOf(t, tx.Commit(ctx), order.Timeout, order.Overloaded)
	tx.Release(ctx)
	until(t, "the server ends the session", func() bool { return s.sessions(t, `application_name = 'behind-proxy'`) == 0 })
	s.wantLeft(t, p, 5, 0)
}

// TestTooManyConnections: the server refuses a session (SQLSTATE 53300), here
// to a user that may have one.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	role := "limited_" + query[string](t, s.admin, `SELECT current_database()`)
	if _, err := s.admin.Exec(t.Context(), `CREATE ROLE `+role+` LOGIN PASSWORD 'x' CONNECTION LIMIT 1;
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+role); err != nil {
		t.Skipf("this server lets us make no user: %v", err)
	}
	t.Cleanup(func() {
		if _, err := s.admin.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	limited := openStore(t, Config{URL: asUser(t, s.url, role, "x"), MaxConns: 2})
	tx, err := limited.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = limited.User(t.Context(), 1)
	wantKind(t, err, order.Overloaded)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != tooManyConnections {
		t.Errorf("%v, want SQLSTATE %s", err, tooManyConnections)
	}
	_, err = limited.Begin(t.Context())
	wantKind(t, err, order.Overloaded)
	tx.Release(t.Context())
	if err := limited.User(t.Context(), 1); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
