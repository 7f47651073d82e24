package service

import (
	"context"
	"log/slog"
	"net"

	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/store"

	"github.com/prometheus/client_golang/prometheus"
)

// Backend is what stands behind a model: the database and the guard.
type Backend struct {
	Store   *store.Store
	Guard   guard.Guard
	Metrics *prometheus.Registry
	Log     *slog.Logger
}

// Migrate brings the schema of the database up to date, whoever else does the
// same. A database that cannot be reached is a *ConfigError.
func (c *Config) Migrate(ctx context.Context) error {
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
	metrics := newRegistry()
	g, err := guard.New(ctx, c.Guard, guard.Deps{Store: db, RedisURL: c.RedisURL, Log: log, Metrics: metrics})
	if err != nil {
		db.Close()
		return nil, badConfig("guard %s cannot be used: %w", c.Guard, err)
	}
	return &Backend{Store: db, Guard: g, Metrics: metrics, Log: log}, nil
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
