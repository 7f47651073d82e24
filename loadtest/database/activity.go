package database

import "context"

// Activity is what the sessions of a stage do at one moment.
type Activity struct {
	Connections int64
	LockWaits   int64 // sessions that wait for a lock, on a row of a product say
}

// Activity looks at the sessions with this application_name. A session whose state is hidden from us counts as one that
// does not wait.
func (d *DB) Activity(ctx context.Context, appName string) (Activity, error) {
	var a Activity
	err := d.pool.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Lock')`+theirs, appName).
		Scan(&a.Connections, &a.LockWaits)
	if err != nil {
		return Activity{}, explain("cannot look at the sessions of the database", err)
	}
	return a, nil
}

// StockLeft returns the units that are left of these products, all together.
func (d *DB) StockLeft(ctx context.Context, products []int64) (int64, error) {
	var left int64
	err := d.pool.QueryRow(ctx, `SELECT coalesce(sum(stock), 0)::bigint FROM products WHERE id = ANY($1)`, products).Scan(&left)
	if err != nil {
		return 0, explain("cannot read the stock", err)
	}
	return left, nil
}
