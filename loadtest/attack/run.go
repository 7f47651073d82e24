package attack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// answerGrace is how long open requests may take when a run is interrupted.
const answerGrace = 500 * time.Millisecond

// dialAtOnce bounds how many connections are being opened at a time, so that the
// target's queue of new connections does not overflow.
const dialAtOnce = 64

// Run opens the connections of all users, lets them start together, and returns
// when the last of them has finished: after Duration at the latest, and the time that
// the last answers take (ClientTimeout at most, and again as much to connect).
// When ctx ends first, no further request is sent, the open ones get half a
// second for their answers, and Run returns what it has with an error that wraps
// ErrInterrupted. Any other error means that nothing was sent: the configuration
// is wrong, or a connection could not be opened.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	to, err := parseTarget(cfg.Target)
	if err != nil {
		return nil, err
	}
	return newCrowd(cfg, to, newDialer(to.addr, cfg.LocalAddr)).run(ctx)
}

// crowd is all users of one run.
type crowd struct {
	cfg      Config
	users    []*user
	clients  []*client
	counters []counters
	spreads  spreads
	active   atomic.Int64
	codes    codeTable
	refused  *userLog // open model: what found the queue full
	cpu      float64  // open model: share of all processors that this process used
	memory   int64    // that this process held when the last user had ended
}

func newCrowd(cfg Config, to target, dial dialFunc) *crowd {
	c := &crowd{cfg: cfg, counters: make([]counters, cfg.Users), spreads: newSpreads(cfg.Progress != nil, cfg.Users)}
	draw := newDrawer(len(cfg.ProductIDs), cfg.Skew)
	widest := slices.Max(cfg.ProductIDs)
	for i := range cfg.Users {
		id := cfg.FirstUserID + int64(i)
		first := Order{UserID: id, ProductID: cfg.ProductIDs[0], Quantity: cfg.Quantity, PriceCents: cfg.PriceCents}
		cl := &client{
			conn:     newConn(dial, cfg.ClientTimeout),
			request:  newRequest(to, first, widest),
			codes:    &c.codes,
			products: cfg.ProductIDs,
		}
		c.clients = append(c.clients, cl)
		c.users = append(c.users, &user{
			sender:    cl,
			behaviour: newBehaviour(cfg, draw, &c.codes, uint64(id)),
			keys:      newKeySource(),
			quantity:  uint16(cfg.Quantity),
			log:       newUserLog(id),
			counters:  &c.counters[i],
			spread:    c.spreads.of(i),
		})
	}
	return c
}

func newBehaviour(cfg Config, draw *drawer, codes *codeTable, stream uint64) behaviour {
	rng := rand.New(rand.NewPCG(cfg.Seed, stream))
	if cfg.Workload == Sustained {
		return &sustainedBuyer{draw: draw, patience: patience{rng: rng}}
	}
	return &flashBuyer{wanted: draw.next(rng), soldOut: codes.id([]byte(CodeOutOfStock)), patience: patience{rng: rng}}
}

// run opens all connections, lets the users go and waits for them.
func (c *crowd) run(ctx context.Context) (*Result, error) {
	defer c.closeAll()
	if err := c.openAll(ctx); err != nil {
		return nil, err
	}
	if c.cfg.Gate != nil {
		if err := c.cfg.Gate(ctx); err != nil {
			return nil, err
		}
	}
	if err := waitUntil(ctx, c.cfg.StartAt); err != nil {
		return nil, err
	}
	start := time.Now()
	if c.cfg.Schedule == nil {
		c.drive(ctx, start, func(u *user) { u.run(ctx, c.cfg.Duration) })
	} else if err := c.driveOpen(ctx, start); err != nil {
		return nil, err
	}
	c.memory = residentMemory()
	result := newResult(c, start, ctx.Err() != nil)
	if result.Interrupted {
		return result, fmt.Errorf("the run was %w after %v", ErrInterrupted, result.Elapsed.Round(time.Millisecond))
	}
	return result, nil
}

// waitUntil waits for a start time that was agreed on; the zero time is now. One that
// has passed is an error: this generator would miss what the others do.
func waitUntil(ctx context.Context, at time.Time) error {
	if at.IsZero() {
		return nil
	}
	rest := time.Until(at)
	if rest < 0 {
		return fmt.Errorf("the connections were open %v after the start time: choose a later one", -rest.Round(time.Millisecond))
	}
	if !sleep(ctx, rest) {
		return ctx.Err()
	}
	return nil
}

// drive lets every user live, and beside them the progress and the watch over ctx, and
// returns when all of these have ended.
func (c *crowd) drive(ctx context.Context, start time.Time, live func(*user)) {
	var users, others sync.WaitGroup
	barrier, done := make(chan struct{}), make(chan struct{})
	c.active.Store(int64(len(c.users)))
	for i, u := range c.users {
		c.clients[i].start = start
		users.Go(func() {
			<-barrier
			live(u)
			c.active.Add(-1)
		})
	}
	watch := &observer{report: c.cfg.Progress, every: c.cfg.ProgressEvery, duration: c.cfg.Duration,
		start: start, users: &c.active, counters: c.counters, spreads: c.spreads}
	others.Go(func() { watch.run(done) })
	others.Go(func() { c.interruptAfter(ctx, done) })
	close(barrier)
	users.Wait()
	close(done)
	others.Wait()
}

// interruptAfter ends the waits for answers some time after ctx has ended.
func (c *crowd) interruptAfter(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	grace := time.NewTimer(answerGrace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
		for _, cl := range c.clients {
			cl.conn.interrupt()
		}
	}
}

// openAll opens every user's connection. It returns the first error, once all
// attempts have ended.
func (c *crowd) openAll(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, open atomic.Int64
	var openers sync.WaitGroup
	for range min(dialAtOnce, len(c.clients)) {
		openers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(c.clients) {
					return
				}
				if err := c.clients[i].conn.open(ctx); err != nil {
					cancel(err)
					return
				}
				open.Add(1)
			}
		})
	}
	openers.Wait()
	if err := context.Cause(ctx); err != nil {
		return c.openError(err, int(open.Load()))
	}
	return nil
}

func (c *crowd) openError(err error, open int) error {
	hint := ""
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		hint = " (raise the limit of open files with ulimit -n, or take fewer users)"
	}
	return fmt.Errorf("cannot connect user %d of %d to %s: %w%s", open+1, len(c.clients), c.cfg.Target, err, hint)
}

func (c *crowd) closeAll() {
	for _, cl := range c.clients {
		cl.conn.close()
	}
}

// newDialer returns a function that connects to addr. A host name is resolved
// once, at the first connection: all users talk to the same address. local is the IP
// address to connect from; "" leaves it to the system.
func newDialer(addr, local string) dialFunc {
	var resolved atomic.Pointer[string]
	dialer := net.Dialer{KeepAlive: -1} // requests follow one another; probes would only disturb
	if ip := net.ParseIP(local); ip != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: ip}
		dialer.Control = bindLate
	}
	return func(ctx context.Context) (net.Conn, error) {
		to := addr
		if known := resolved.Load(); known != nil {
			to = *known
		}
		wire, err := dialer.DialContext(ctx, "tcp", to)
		if err == nil {
			remote := wire.RemoteAddr().String()
			resolved.CompareAndSwap(nil, &remote)
		}
		return wire, err
	}
}
