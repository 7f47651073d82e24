package database

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"example.com/flashsale/loadtest/audit"
)

func TestSnapshot(t *testing.T) {
	t.Parallel()
	db, stage := open(t, schema)
	before := newProduct(t, db, 5)
	sell(t, stage, before, "before")
	p, other := newProduct(t, db, 3), newProduct(t, db, 3)
	sell(t, stage, other, "other")
	sell(t, stage, p, "mine")
	execute(t, stage, `INSERT INTO orders (user_id, product_id, quantity, total_cents, status, idempotency_key)
		VALUES (2, $1, 2, 500, 'cancelled', 'also mine')`, p.ID)

	got, err := db.Snapshot(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	want := audit.Snapshot{ProductID: p.ID, Initial: 3, Left: 2, PriceCents: 250, Orders: []audit.Row{
		{ID: 3, Key: "mine", UserID: 1, ProductID: p.ID, Quantity: 1, TotalCents: 250, Status: "created"},
		{ID: 4, Key: "also mine", UserID: 2, ProductID: p.ID, Quantity: 2, TotalCents: 500, Status: audit.Cancelled},
	}}
	if !equal(got, want) || got.ProductID != want.ProductID || got.Initial != want.Initial || got.Settled {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if _, err := db.Snapshot(t.Context(), Product{ID: 1000}); !errors.Is(err, ErrNoProduct) {
		t.Errorf("a product that is not there: %v", err)
	}
}

func TestWaitSettledAtRest(t *testing.T) {
	t.Parallel()
	db, stage := open(t, schema)
	p := newProduct(t, db, 3)
	sell(t, stage, p, "a")
	const quiet = 30 * time.Millisecond
	start := time.Now()
	got, err := db.WaitSettled(t.Context(), p, Settling{AppName: "stage", Quiet: quiet})
	if err != nil || !got.Settled || len(got.Orders) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if took := time.Since(start); took < quiet {
		t.Errorf("settled after %v", took)
	}
}

func TestWaitSettledWaitsForBusySessions(t *testing.T) {
	t.Parallel()
	for _, appName := range []string{"stage", ""} {
		db, stage := open(t, schema)
		p := newProduct(t, db, 3)
		tx, err := stage.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = tx.Exec(t.Context(), `INSERT INTO orders (user_id, product_id, quantity, total_cents, status, idempotency_key)
			VALUES (1, $1, 1, 250, 'created', 'late')`, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		var group errgroup.Group
		group.Go(func() error {
			// The sleep is the stage's, which still works on the order.
			if _, err := tx.Exec(t.Context(), `SELECT pg_sleep(0.3)`); err != nil {
				return err
			}
			return tx.Commit(t.Context())
		})
		got, err := db.WaitSettled(t.Context(), p, Settling{AppName: appName})
		if err != nil || !got.Settled || len(got.Orders) != 1 {
			t.Errorf("%q: got %+v, %v", appName, got, err)
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestWaitSettledGivesUp(t *testing.T) {
	t.Parallel()
	db, stage := open(t, schema)
	p := newProduct(t, db, 3)
	tx, err := stage.Begin(t.Context()) // idle in a transaction is busy
	if err != nil {
		t.Fatal(err)
	}
	how := Settling{AppName: "stage", GiveUp: 200 * time.Millisecond}
	got, err := db.WaitSettled(t.Context(), p, how)
	if err != nil || got.Settled || got.ProductID != p.ID || got.Left != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	how = Settling{AppName: "another stage"}
	if got, err := db.WaitSettled(t.Context(), p, how); err != nil || !got.Settled {
		t.Errorf("somebody else's session keeps us waiting: %+v, %v", got, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWaitSettledNeedsTwoEqualSnapshots(t *testing.T) {
	t.Parallel()
	db, _ := open(t, schema+`DROP TABLE products;
		CREATE VIEW products AS SELECT 1::bigint AS id, 250::bigint AS price_cents,
			(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS stock`) // another one each time
	how := Settling{AppName: "nobody", Quiet: time.Millisecond, GiveUp: 200 * time.Millisecond}
	got, err := db.WaitSettled(t.Context(), Product{ID: 1}, how)
	if err != nil || got.Settled {
		t.Errorf("settled although each snapshot differs: %+v, %v", got, err)
	}
}

func TestWaitAllSettled(t *testing.T) {
	t.Parallel()
	db, stage := open(t, schema)
	products := []Product{newProduct(t, db, 3), newProduct(t, db, 3), newProduct(t, db, 3)}
	for i, p := range products {
		for n := range i {
			sell(t, stage, p, fmt.Sprint(i, n))
		}
	}
	got, err := db.WaitAllSettled(t.Context(), products, Settling{AppName: "stage"})
	if err != nil || len(got) != len(products) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for i, snap := range got {
		if !snap.Settled || snap.ProductID != products[i].ID || len(snap.Orders) != i || snap.Left != int64(3-i) {
			t.Errorf("product %d: got %+v", i, snap)
		}
	}
	if got, err := db.WaitAllSettled(t.Context(), nil, Settling{}); err != nil || len(got) != 0 {
		t.Errorf("no products: %+v, %v", got, err)
	}
}

func TestWaitSettledCancelled(t *testing.T) {
	t.Parallel()
	db, _ := open(t, schema)
	p := newProduct(t, db, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := db.WaitSettled(ctx, p, Settling{Quiet: 5 * time.Second}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A role without rights sees that sessions exist, but not what they do.
func TestWaitSettledNeedsToSee(t *testing.T) {
	t.Parallel()
	db, stage := open(t, schema)
	p := newProduct(t, db, 1)
	role := strings.ToLower(t.Name())
	execute(t, stage, `CREATE ROLE `+role+` LOGIN PASSWORD 'x'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+role)
	t.Cleanup(func() {
		ctx := context.Background()
		if _, err := stage.Exec(ctx, `DROP OWNED BY `+role+`; DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	weak, err := Connect(t.Context(), as(t, stage, role))
	if err != nil {
		t.Skipf("this server lets no new role in: %v", err)
	}
	defer weak.Close()
	if _, err := weak.WaitSettled(t.Context(), p, Settling{AppName: "stage"}); err == nil || !strings.Contains(err.Error(), "pg_read_all_stats") {
		t.Errorf("got %v", err)
	}
	if n, err := weak.Connections(t.Context(), "stage"); err != nil || n != 1 {
		t.Errorf("%d connections, %v", n, err)
	}
	facts, err := weak.Describe(t.Context())
	if err != nil || facts.Filesystem != nil {
		t.Errorf("a role that may not know the data folder: %+v, %v", facts, err)
	}
}

// as returns the URL of the session's database for another role.
func as(t *testing.T, conn *pgx.Conn, role string) string {
	t.Helper()
	u, err := url.Parse(conn.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "x")
	return u.String()
}

func TestSampleConnections(t *testing.T) {
	t.Parallel()
	db, stage := open(t, "")
	for range 3 {
		session(t, stage.Config().ConnString(), "many")
	}
	first := db.SampleConnections(t.Context(), "many", time.Millisecond)
	if n, err := db.Connections(t.Context(), "many"); err != nil || n != 3 {
		t.Errorf("%d connections, %v", n, err)
	}
	waitForSample(t, first)
	for range 2 {
		if n, err := first.Stop(); err != nil || n != 3 {
			t.Errorf("at most %d connections, %v", n, err)
		}
	}
}

// waitForSample blocks until the sampler has had the time for a sample.
func waitForSample(t *testing.T, s *ConnectionSampler) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); s.samples.Load() == 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("no sample within 5 s")
		}
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := sleep(t.Context(), time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute+time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
