package database

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"example.com/flashsale/loadtest/audit"
)

// Defaults of Settling.
const (
	DefaultQuiet  = 100 * time.Millisecond
	DefaultGiveUp = 10 * time.Second
)

// pollEvery is how often WaitSettled looks again while sessions are busy.
const pollEvery = 50 * time.Millisecond

// Settling says when WaitSettled may conclude that nothing goes on any more.
type Settling struct {
	// AppName is the application_name of the stage's sessions. "" means every
	// session of the database but our own.
	AppName string
	// Quiet is how far apart the two equal snapshots are at least; 0 means
	// DefaultQuiet. A request that the client gave up may still wait inside the
	// stage, where no session shows it: after unknown outcomes Quiet should be the
	// service's deadline for a request and a second more.
	Quiet time.Duration
	// GiveUp bounds the wait; 0 means DefaultGiveUp. It should be above Quiet.
	GiveUp time.Duration
}

// Snapshot reads a product and its orders at one point in time. Settled is false: one
// snapshot cannot tell. A product that does not exist is ErrNoProduct.
func (d *DB) Snapshot(ctx context.Context, p Product) (audit.Snapshot, error) {
	snaps, err := d.SnapshotAll(ctx, []Product{p})
	if err != nil {
		return audit.Snapshot{}, err
	}
	return snaps[0], nil
}

// SnapshotAll is Snapshot for several products at the same point in time. It returns
// them in the order of products, of which none may be there twice.
func (d *DB) SnapshotAll(ctx context.Context, products []Product) ([]audit.Snapshot, error) {
	var snaps []audit.Snapshot
	asOfNow := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, d.pool, asOfNow, func(tx pgx.Tx) (err error) {
		if snaps, err = readProducts(ctx, tx, products); err != nil {
			return err
		}
		return readOrders(ctx, tx, products, snaps)
	})
	if err != nil {
		return nil, explain("cannot read the orders", err)
	}
	return snaps, nil
}

// readProducts returns a snapshot without orders for each product.
func readProducts(ctx context.Context, tx pgx.Tx, products []Product) ([]audit.Snapshot, error) {
	snaps := make([]audit.Snapshot, 0, len(products))
	for _, p := range products {
		snap := audit.Snapshot{ProductID: p.ID, Initial: p.Initial}
		err := tx.QueryRow(ctx, `SELECT stock, price_cents FROM products WHERE id = $1`, p.ID).Scan(&snap.Left, &snap.PriceCents)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, fmt.Errorf("product %d: %w", p.ID, ErrNoProduct)
		}
		if err != nil {
			return nil, err
		}
		snaps = append(snaps, snap)
	}
	return snaps, nil
}

// readOrders reads the orders of all products at once: there is no index on their
// product, so each query scans all orders since the oldest product.
func readOrders(ctx context.Context, tx pgx.Tx, products []Product, snaps []audit.Snapshot) error {
	if len(products) == 0 {
		return nil
	}
	ids, index, first := make([]int64, len(products)), make(map[int64]int, len(products)), products[0].First
	for i, p := range products {
		ids[i], index[p.ID], first = p.ID, i, min(first, p.First)
	}
	rows, err := tx.Query(ctx, `
		SELECT id, idempotency_key, user_id, product_id, quantity, total_cents, status FROM orders
		WHERE product_id = ANY($1) AND id > $2 ORDER BY id`, ids, first)
	if err != nil {
		return err
	}
	var o audit.Row
	_, err = pgx.ForEachRow(rows, []any{&o.ID, &o.Key, &o.UserID, &o.ProductID, &o.Quantity, &o.TotalCents, &o.Status}, func() error {
		snap := &snaps[index[o.ProductID]]
		snap.Orders = append(snap.Orders, o)
		return nil
	})
	return err
}

// WaitSettled waits until no session of the stage is busy and two snapshots are
// equal, and returns the second with Settled true. When that does not happen in time,
// it returns the last snapshot with Settled false and no error. It blocks for
// how.GiveUp and one snapshot at most.
func (d *DB) WaitSettled(ctx context.Context, p Product, how Settling) (audit.Snapshot, error) {
	snaps, err := d.WaitAllSettled(ctx, []Product{p}, how)
	if err != nil {
		return audit.Snapshot{}, err
	}
	return snaps[0], nil
}

// WaitAllSettled is WaitSettled for several products at once: each of its snapshots is
// one of all of them, in the order of products.
func (d *DB) WaitAllSettled(ctx context.Context, products []Product, how Settling) ([]audit.Snapshot, error) {
	how = how.withDefaults()
	end := time.Now().Add(how.GiveUp)
	var first []audit.Snapshot
	var firstAt time.Time // zero: there is none
	for {
		busy, err := d.busy(ctx, how.AppName)
		if err != nil {
			return nil, err
		}
		at := time.Now()
		next, err := d.SnapshotAll(ctx, products)
		if err != nil {
			return nil, err
		}
		same := !firstAt.IsZero() && slices.EqualFunc(first, next, equal)
		switch {
		case busy:
			firstAt = time.Time{}
		case !same:
			first, firstAt = next, at
		case at.Sub(firstAt) >= how.Quiet:
			return settled(next), nil
		}
		pause := pollEvery
		if !firstAt.IsZero() {
			pause = max(time.Until(firstAt.Add(how.Quiet)), 0)
		}
		if time.Now().Add(pause).After(end) {
			return next, nil
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// settled marks the snapshots, which are not changed any more.
func settled(snaps []audit.Snapshot) []audit.Snapshot {
	for i := range snaps {
		snaps[i].Settled = true
	}
	return snaps
}

func (s Settling) withDefaults() Settling {
	if s.Quiet <= 0 {
		s.Quiet = DefaultQuiet
	}
	if s.GiveUp <= 0 {
		s.GiveUp = DefaultGiveUp
	}
	return s
}

// equal reports whether two snapshots of a product found the same.
func equal(a, b audit.Snapshot) bool {
	return a.Left == b.Left && a.PriceCents == b.PriceCents && slices.Equal(a.Orders, b.Orders)
}

// sleep waits for d, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
