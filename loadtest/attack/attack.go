// Package attack drives an order service over HTTP with many users at once and
// records what each of them learned.
//
// There are two models. In the closed one a user sends a request, waits for the
// answer, and decides only then what to do next. So the number of open requests
// never exceeds the number of users, and a slow service is asked less often. In the
// open one (Config.Schedule) requests are due at given times, whatever became of the
// earlier ones; see open.go.
//
//	Run ── user 1: connection, request buffer, own random numbers, own log
//	    ├─ user 2: …
//	    ├─ user N: …
//	    ├─ progress: reads the users' counters, calls Config.Progress
//	    └─ after the last user: folds the logs into counts and histograms
//
// The users share nothing while they run: each has a log of its own, and counts
// and histograms are computed from the logs afterwards. Every call to the service
// is exactly one attempt; to try again is the workload's decision, and counted.
package attack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"time"

	"example.com/flashsale/loadtest/schedule"
)

// Workload names what the users do.
type Workload string

// The workloads.
const (
	// FlashSale: each user orders one unit again and again until its first
	// "out of stock", waits 200 ms, tries once more and leaves. With several
	// products each user wants one of them, drawn at the start.
	FlashSale Workload = "flash-sale"
	// Sustained: each user orders until the time is up; with several products
	// each order is for another one.
	Sustained Workload = "sustained"
)

// Defaults of Config.
const (
	DefaultClientTimeout = 5 * time.Second
	DefaultProgressEvery = time.Second
	DefaultQuantity      = 1
	DefaultLagTolerance  = 10 * time.Millisecond
)

// Config says what to drive, and how. Target, Users, ProductIDs, Workload and
// Duration are required.
type Config struct {
	Target        string        // base URL, http only: "http://127.0.0.1:8080"
	Workload      Workload      // what the users do
	Users         int           // concurrent users, each with a connection of its own
	FirstUserID   int64         // users order as FirstUserID, FirstUserID+1, …; 0 means 1
	ProductIDs    []int64       // what they order
	Skew          float64       // exponent of Zipf's law over ProductIDs, the first is the hottest; 0 draws evenly
	Quantity      int64         // units of one order; 0 means 1
	PriceCents    int64         // the price the buyers saw; 0 is not sent
	Seed          uint64        // of every random choice but the idempotency keys, which never repeat
	Duration      time.Duration // no user begins another request later than this; includes the warm-up
	Warmup        time.Duration // Sustained only: answers before it count for the audit alone
	ClientTimeout time.Duration // for one answer (a sixteenth more at most), and for one connection to open; 0 means DefaultClientTimeout

	// Schedule makes it an open model: Users is then the number of connections, and
	// Duration and Warmup must be those of the schedule. Sustained only. Nil: a
	// closed loop.
	Schedule *schedule.Schedule
	// LagTolerance is how late the generator itself may send before that counts as
	// late; 0 means DefaultLagTolerance.
	LagTolerance time.Duration

	// LocalAddr is the IP address to connect from, where one address has too few ports
	// for all users; "" leaves it to the system.
	LocalAddr string
	// StartAt is when the users start, so that generators on several machines can do so
	// together; zero means as soon as all connections are open.
	StartAt time.Time
	// Gate is called once all connections are open; the users start when it returns.
	// Its error ends the run before anything is sent. It may be nil.
	Gate func(ctx context.Context) error

	// Progress is called every ProgressEvery (0 means DefaultProgressEvery) and once
	// at the end, always from the same goroutine. It must return soon. It may be nil.
	Progress      func(Progress)
	ProgressEvery time.Duration
}

// Order is one request for goods.
type Order struct {
	UserID     int64
	ProductID  int64
	Quantity   int64
	PriceCents int64 // the price the buyer saw; 0 is not sent
}

// Progress is the state of a run so far, warm-up included.
type Progress struct {
	Elapsed   time.Duration // since the start
	Duration  time.Duration // upper bound of the run
	Users     int           // users that have not finished
	Accepted  int64
	Replayed  int64
	Rejected  int64
	Failed    int64
	Unknown   int64
	Dropped   int64   // open model: requests that were due and not sent
	PerSecond float64 // requests finished per second since the call before
	Response  Spread  // response times of the orders accepted since the call before
}

// Requests returns how many requests have ended.
func (p Progress) Requests() int64 {
	return p.Accepted + p.Replayed + p.Rejected + p.Failed + p.Unknown
}

// ErrInterrupted is wrapped by the error that Run returns, together with the
// result so far, when its context ended first.
var ErrInterrupted = errors.New("interrupted")

// Validate returns an error that says in one sentence what is wrong with the
// configuration, or nil.
func (c Config) Validate() error {
	if _, err := parseTarget(c.Target); err != nil {
		return err
	}
	switch {
	case c.Workload != FlashSale && c.Workload != Sustained:
		return fmt.Errorf("unknown workload %q: use %s or %s", c.Workload, FlashSale, Sustained)
	case c.Users < 1:
		return fmt.Errorf("%d users: at least 1 is needed", c.Users)
	case len(c.ProductIDs) == 0:
		return errors.New("no product to order")
	case slices.Min(c.ProductIDs) < 1:
		return fmt.Errorf("product %d: numbers begin at 1", slices.Min(c.ProductIDs))
	case c.FirstUserID < 0:
		return fmt.Errorf("first user %d: numbers begin at 1", c.FirstUserID)
	case !(c.Skew >= 0) || math.IsInf(c.Skew, 1): // NaN is neither
		return fmt.Errorf("skew %g: use 0 or a positive number", c.Skew)
	case c.Quantity < 0 || c.Quantity > maxQuantity:
		return fmt.Errorf("quantity %d: use 1 to %d", c.Quantity, maxQuantity)
	case c.PriceCents < 0:
		return fmt.Errorf("price %d: it cannot be negative", c.PriceCents)
	case c.Duration <= 0:
		return fmt.Errorf("duration %v: it must be positive", c.Duration)
	case c.Workload == Sustained && (c.Warmup < 0 || c.Warmup >= c.Duration):
		return fmt.Errorf("warm-up %v: it must be shorter than the duration %v", c.Warmup, c.Duration)
	case c.ClientTimeout < 0:
		return fmt.Errorf("client time-out %v: it cannot be negative", c.ClientTimeout)
	case c.LocalAddr != "" && net.ParseIP(c.LocalAddr) == nil:
		return fmt.Errorf("local address %q is no IP address", c.LocalAddr)
	case c.LagTolerance < 0:
		return fmt.Errorf("tolerance %v: it cannot be negative", c.LagTolerance)
	}
	return c.validateSchedule()
}

func (c Config) validateSchedule() error {
	switch {
	case c.Schedule == nil:
		return nil
	case c.Workload != Sustained:
		return fmt.Errorf("workload %s has no rate: use %s", c.Workload, Sustained)
	case c.Schedule.Duration() != c.Duration || c.Schedule.Plan().Warmup != c.Warmup:
		return fmt.Errorf("a run of %v with a warm-up of %v cannot follow a schedule of %v with one of %v",
			c.Duration, c.Warmup, c.Schedule.Duration(), c.Schedule.Plan().Warmup)
	}
	return nil
}

// withDefaults returns c with its zero values replaced.
func (c Config) withDefaults() Config {
	if c.FirstUserID == 0 {
		c.FirstUserID = 1
	}
	if c.Quantity == 0 {
		c.Quantity = DefaultQuantity
	}
	if c.ClientTimeout == 0 {
		c.ClientTimeout = DefaultClientTimeout
	}
	if c.LagTolerance == 0 {
		c.LagTolerance = DefaultLagTolerance
	}
	if c.ProgressEvery <= 0 {
		c.ProgressEvery = DefaultProgressEvery
	}
	if c.Workload == FlashSale {
		c.Warmup = 0
	}
	return c
}
