package service

import (
	"context"
	"log/slog"
	"net"
	"time"

	"example.com/flashsale/shop/coalesce"
	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/prefork"
	"example.com/flashsale/shop/store"
	"example.com/flashsale/shop/users"

	"github.com/prometheus/client_golang/prometheus"
)

// Backend is what stands behind a model: the database and the guard.
type Backend struct {
	Store   *store.Store
	Guard   guard.Guard
	Metrics *prometheus.Registry
	Log     *slog.Logger

	latency, timeout time.Duration
}

// Migrate brings the schema of the database up to date, whoever else does the
// same. A database that cannot be reached is a *ConfigError. A master that
// follows another one in the same process does nothing: it did that in the
// rehearsal.
func (c *Config) Migrate(ctx context.Context) error {
	if prefork.Inherits() {
		return nil
	}
	if err := store.Migrate(ctx, c.DatabaseURL); err != nil {
		return badConfig("the database cannot be used: %w; check DATABASE_URL", err)
	}
	return nil
}

// Open connects to the database and makes the guard. conns is the number of
// connections that this process may hold. The caller closes the Backend when
// its model has ended. What cannot be reached is a *ConfigError.
func (c *Config) Open(ctx context.Context, conns int, log *slog.Logger) (*Backend, error) {
	db, err := store.Open(ctx, c.Store(conns))
	if err != nil {
		return nil, badConfig("the database cannot be used: %w; check DATABASE_URL", err)
	}
	metrics := prometheus.NewRegistry()
	g, err := guard.New(ctx, c.Guard, guard.Deps{
		Store: db, RedisURL: c.RedisURL, Log: log, Metrics: metrics,
		Batch: guard.BatchOptions{
			QueueCap: c.QueueCap, Size: c.BatchSize, Wait: c.BatchWait, SoldOutFor: c.SoldOutFor, Timeout: c.RequestTimeout,
		},
	})
	if err != nil {
		db.Close()
		return nil, badConfig("guard %s cannot be used: %w", c.Guard, err)
	}
	return &Backend{Store: db, Guard: g, Metrics: metrics, Log: log, latency: c.UserLatency, timeout: c.RequestTimeout}, nil
}

// Users returns the directory of users, which asks the database once per
// look-up.
func (b *Backend) Users() *users.Directory {
	if guard.ChecksUsers(b.Guard) {
		return users.Latency(b.latency)
	}
	return users.New(b.Store, b.latency)
}

// CoalescedUsers returns the directory of users in which the look-ups that
// wait share a query.
func (b *Backend) CoalescedUsers() *users.Directory {
	if guard.ChecksUsers(b.Guard) {
		return users.Latency(b.latency)
	}
	return users.Coalesced(b.Store, b.latency, b.timeout)
}

// CoalescedProducts returns a read of a product in which all that wait share a
// query.
func (b *Backend) CoalescedProducts() func(context.Context, int64) (order.Product, error) {
	group := &coalesce.Group[order.Product]{Query: b.Store.Products, Timeout: b.timeout}
	return func(ctx context.Context, id int64) (order.Product, error) {
		p, found, err := group.Get(ctx, id)
		if err == nil && !found {
			err = store.ProductNotFound(id)
		}
		return p, err
	}
}

// Close closes the guard, then the database.
func (b *Backend) Close() {
	if err := b.Guard.Close(); err != nil {
		b.Log.Warn("guard not closed cleanly", "error", err)
	}
	b.Store.Close()
}

// Listen opens the port. One that is taken, or cannot be, is a *ConfigError.
func (c *Config) Listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, badConfig("cannot listen on %s: %w; choose another --addr", c.Addr, err)
	}
	return ln, nil
}
