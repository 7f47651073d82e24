// Package guard protects the stock while it is read, checked and written. Each
// guard is one short file: read none.go first, which protects nothing, then
// what the others do about it.
//
// A guard is independent of the concurrency model that calls it. Any guard runs
// in any stage, also where it is wrong; [Expected] says what theory promises.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"

	"github.com/prometheus/client_golang/prometheus"
)

// The names of the guards.
const (
	None        = "none"
	Mutex       = "mutex"
	Redlock     = "redlock"
	Rowlock     = "rowlock"
	Conditional = "conditional"
	Batch       = "batch"
	NoOp        = "noop"
)

// Guard takes stock and writes the order for it.
type Guard interface {
	// Place checks and takes the stock and writes the order, all or nothing.
	// It blocks until the outcome is known or ctx ends its waits, and may be
	// called concurrently. Errors are *order.Error.
	Place(ctx context.Context, req order.Request) (order.Receipt, error)
	// Close frees what the guard holds, after the last Place has returned.
	Close() error
}

// Answer receives the outcome of the order with that index.
type Answer = func(i int, r order.Receipt, err error)

// Together is a guard that can sell many orders in one transaction, on the
// caller's goroutine. PlaceAll calls answer once for each order; those whose
// context has ended are refused and not executed.
type Together interface {
	PlaceAll(ctxs []context.Context, reqs []order.Request, answer Answer)
}

// Deps is what guards are made of.
type Deps struct {
	Store *store.Store
	// RedisURL is needed by redlock alone.
	RedisURL string
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Batch    BatchOptions
}

type entry struct {
	name, about string
	open        func(context.Context, Deps) (Guard, error)
}

var guards = []entry{
	{None, "reads, checks, writes: loses updates where two run at once", openNone},
	{Mutex, "none behind a lock in this process's memory", openMutex},
	{Redlock, "none behind a lock in Redis (redsync)", openRedlock},
	{Rowlock, "SELECT … FOR UPDATE: the database's lock on the row", openRowlock},
	{Conditional, "one statement: UPDATE … WHERE stock >= n", openConditional},
	{Batch, "group commit: one transaction for all orders that wait", openBatch},
	{NoOp, "no order at all: measures the HTTP ceiling", openNoOp},
}

// Names returns the names of all guards, NoOp last.
func Names() []string {
	names := make([]string, len(guards))
	for i, g := range guards {
		names[i] = g.name
	}
	return names
}

// About returns one line per guard that can be chosen by --guard.
func About() string {
	var s string
	for _, g := range guards[:len(guards)-1] {
		s += fmt.Sprintf("  %-12s %s\n", g.name, g.about)
	}
	return s
}

// New makes the guard of that name. It blocks while it connects to Redis,
// where the guard needs it.
func New(ctx context.Context, name string, deps Deps) (Guard, error) {
	i := slices.IndexFunc(guards, func(e entry) bool { return e.name == name })
	if i < 0 {
		return nil, fmt.Errorf("unknown guard %q", name)
	}
	return guards[i].open(ctx, deps)
}

// What theory expects of a guard.
const (
	Safe   = "safe"
	Broken = "broken"
)

// Expected says whether a guard can keep a stage from overselling: Safe or
// Broken. processes is the number of processes that sell, concurrency the
// number of orders that one of them works on at once. The stage's name does
// not matter, only these two do. NoOp is Broken: its receipts are made up.
func Expected(name string, processes, concurrency int) string {
	safe := true
	switch name {
	case None:
		safe = processes == 1 && concurrency == 1
	case Mutex:
		safe = processes == 1
	case NoOp:
		safe = false
	}
	if safe {
		return Safe
	}
	return Broken
}

// ChecksUsers says that the guard looks the users up itself, with the orders,
// so that a model only waits for the latency of that call.
func ChecksUsers(g Guard) bool {
	_, ok := g.(*batch)
	return ok
}

// IgnoresContext says that an order that has been handed to the guard of that
// name is decided even if its buyer leaves, so that nobody need watch for that.
func IgnoresContext(name string) bool { return name == Batch || name == NoOp }
