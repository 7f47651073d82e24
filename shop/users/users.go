// Package users looks users up, as a remote service would be asked: the row of
// the table users plus a simulated latency. The latency belongs to each request
// and holds no database connection.
package users

import (
	"context"
	"time"

	"example.com/flashsale/shop/coalesce"
	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"
)

// Directory finds users. It may be used concurrently.
type Directory struct {
	latency time.Duration
	find    func(context.Context, int64) error
}

// New returns a directory that asks the database once per look-up. latency is
// the simulated time that the remote call takes.
func New(db *store.Store, latency time.Duration) *Directory {
	return &Directory{latency: latency, find: db.User}
}

// Latency returns a directory that only waits, for a guard that looks the rows
// up itself (guard.ChecksUsers).
func Latency(latency time.Duration) *Directory {
	return &Directory{latency: latency, find: func(context.Context, int64) error { return nil }}
}

// Coalesced returns a directory in which all look-ups that wait share the next
// query, which may take up to timeout.
func Coalesced(db *store.Store, latency, timeout time.Duration) *Directory {
	group := &coalesce.Group[struct{}]{Query: db.Users, Timeout: timeout}
	return &Directory{latency: latency, find: func(ctx context.Context, id int64) error {
		_, found, err := group.Get(ctx, id)
		if err == nil && !found {
			return store.UserNotFound(id)
		}
		return err
	}}
}

// LookUp blocks for the simulated latency and one query. It returns nil when
// the user exists, a UserNotFound error when not, and a Timeout error when ctx
// ends first.
func (d *Directory) LookUp(ctx context.Context, id int64) error {
	if err := wait(ctx, d.latency); err != nil {
		return err
	}
	return d.find(ctx, id)
}

// wait blocks for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &order.Error{Kind: order.Timeout, Detail: "the time for this request ran out", Op: "look up user", Err: ctx.Err()}
	}
}
