// Package fleet drives a service from several processes of this machine, where one process may not open enough
// connections. To its caller it is attack.Run.
//
//	parent ── starts members, gives each its share of the users ──► members open their connections
//	       ◄── ready ──────────────────────────────────────────────
//	       ── one start time for all ──────────────────────────────► members run
//	       ◄── progress, and at the end all outcomes ──────────────
//	       merges them
//
// Parent and member talk over the member's stdin and stdout, in gob. The end of stdin stops a member, so that none
// outlives its parent, however that ends.
package fleet

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/schedule"
)

const (
	// head is the time between the order to start and the start: enough for all members to hear of it.
	head = 200 * time.Millisecond
	// stopGrace is how long a member may take to stop before it is killed.
	stopGrace = 10 * time.Second
	// spareTime is what a run may take beyond what its configuration says: to start, to connect, to send the outcomes.
	spareTime = 2 * time.Minute
)

// Command returns a new command that runs Member in another process.
type Command func() (*exec.Cmd, error)

// Self is the command of this program that runs Member.
func Self() (*exec.Cmd, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return exec.Command(path, "generator"), nil
}

// job is what a member is told first: an attack.Config without what cannot be sent.
type job struct {
	Config attackConfig
	Plan   *schedule.Plan
}

// attackConfig are the fields of attack.Config that a member needs.
type attackConfig struct {
	Target        string
	Workload      attack.Workload
	Users         int
	FirstUserID   int64
	ProductIDs    []int64
	Skew          float64
	Quantity      int64
	PriceCents    int64
	Seed          uint64
	Duration      time.Duration
	Warmup        time.Duration
	ClientTimeout time.Duration
	LagTolerance  time.Duration
	LocalAddr     string
	StartAt       time.Time
	ProgressEvery time.Duration
}

// message is what a member says. The outcomes follow the one with Done.
type message struct {
	Ready    bool
	Progress *attack.Progress
	Error    string // it ends the member
	Done     bool
}

// share returns the configuration of member i of n: its part of the users and of the rate.
func share(cfg attack.Config, i, n int) job {
	from, to := cfg.Users*i/n, cfg.Users*(i+1)/n
	j := job{Config: attackConfig{
		Target: cfg.Target, Workload: cfg.Workload, Users: to - from, FirstUserID: max(cfg.FirstUserID, 1) + int64(from),
		ProductIDs: cfg.ProductIDs, Skew: cfg.Skew, Quantity: cfg.Quantity, PriceCents: cfg.PriceCents, Seed: cfg.Seed,
		Duration: cfg.Duration, Warmup: cfg.Warmup, ClientTimeout: cfg.ClientTimeout, LagTolerance: cfg.LagTolerance,
		LocalAddr: cfg.LocalAddr, ProgressEvery: cfg.ProgressEvery, StartAt: cfg.StartAt,
	}}
	if j.Config.LocalAddr == "" {
		j.Config.LocalAddr = sourceAddr(cfg.Target, i)
	}
	if cfg.Schedule != nil {
		plan := cfg.Schedule.Plan()
		part := float64(to-from) / float64(cfg.Users)
		plan.Rate, plan.Peak, plan.Seed = plan.Rate*part, plan.Peak*part, plan.Seed+uint64(i)
		j.Plan = &plan
	}
	return j
}

// sourceAddr returns a loopback address of the member's own for a target on a loopback address: one address has some
// 28,000 ports to connect from. "" leaves it to the system.
func sourceAddr(target string, i int) string {
	u, err := url.Parse(target)
	if err != nil || runtime.GOOS != "linux" { // elsewhere only 127.0.0.1 is there
		return ""
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err != nil || !addr.Is4() || !addr.IsLoopback() {
		return ""
	}
	return fmt.Sprintf("127.0.1.%d", i%250+1)
}

// Run is attack.Run with the users spread over so many processes, which it starts and waits for. LocalAddr, where it is
// set, is that of all of them; Gate must be nil.
func Run(ctx context.Context, cfg attack.Config, processes int, command Command) (*attack.Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if processes < 1 || processes > cfg.Users {
		return nil, fmt.Errorf("%d processes for %d users", processes, cfg.Users)
	}
	limit := cfg.Duration + 2*cfg.ClientTimeout + spareTime
	if !cfg.StartAt.IsZero() {
		limit += time.Until(cfg.StartAt)
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var members []*member
	for i := range processes {
		m, err := startMember(bounded, share(cfg, i, processes), command)
		if err != nil {
			cancel()
			for _, m := range members {
				_ = m.end() // it was stopped
			}
			return nil, fmt.Errorf("start generator process %d of %d: %w", i+1, processes, err)
		}
		members = append(members, m)
	}
	parts, err := conduct(bounded, cancel, members, cfg.Progress)
	if err != nil {
		return nil, err
	}
	all, err := attack.Merge(parts...)
	if err != nil {
		return nil, err
	}
	if all.Interrupted {
		return all, fmt.Errorf("the run was %w after %v", attack.ErrInterrupted, all.Elapsed.Round(time.Millisecond))
	}
	return all, nil
}

// conduct lets the members run together and waits for their ends. The first error stops all of them.
func conduct(ctx context.Context, stop func(), members []*member, progress func(attack.Progress)) ([]*attack.Result, error) {
	var ready errgroup.Group
	for _, m := range members {
		ready.Go(func() error { return m.until(func(msg message) bool { return msg.Ready }) })
	}
	err := ready.Wait()
	if err != nil {
		stop()
	}
	begin := time.Now().Add(head)
	board := &board{latest: make([]attack.Progress, len(members)), report: progress}
	parts := make([]*attack.Result, len(members))
	var running errgroup.Group
	for i, m := range members {
		running.Go(func() (failed error) {
			defer func() { failed = errors.Join(failed, m.end()) }()
			if err != nil {
				return nil // it was stopped
			}
			if failed = m.start(begin); failed == nil {
				parts[i], failed = m.result(func(p attack.Progress) { board.put(i, p) })
			}
			if failed != nil {
				stop()
			}
			return failed
		})
	}
	ended := running.Wait()
	if err != nil {
		return nil, err
	}
	if ended != nil && ctx.Err() != nil && len(parts) > 0 && complete(parts) {
		ended = nil
	}
	return parts, ended
}

func complete(parts []*attack.Result) bool {
	for _, p := range parts {
		if p == nil {
			return false
		}
	}
	return true
}

// member is one process of the fleet.
type member struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	out     *bufio.Reader
	gob     *gob.Decoder
	to      *gob.Encoder
}

// startMember starts a process and gives it its job. The end of ctx stops it.
func startMember(ctx context.Context, j job, command Command) (*member, error) {
	made, err := command()
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, made.Path, made.Args[1:]...)
	c.Env, c.Stderr, c.WaitDelay = made.Env, os.Stderr, stopGrace
	ownGroup(c)
	stdin, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.Cancel = stdin.Close
	if err := c.Start(); err != nil {
		return nil, err
	}
	out := bufio.NewReaderSize(stdout, 1<<16)
	m := &member{command: c, stdin: stdin, out: out, gob: gob.NewDecoder(out), to: gob.NewEncoder(stdin)}
	if err := m.to.Encode(j); err != nil {
		return nil, errors.Join(err, m.end())
	}
	return m, nil
}

// until reads messages until one is the last.
func (m *member) until(last func(message) bool) error {
	for {
		var msg message
		if err := m.gob.Decode(&msg); err != nil {
			return fmt.Errorf("a generator process ended too early: %w", err)
		}
		if msg.Error != "" {
			return errors.New(msg.Error)
		}
		if last(msg) {
			return nil
		}
	}
}

// start tells the member when to let its users go.
func (m *member) start(at time.Time) error { return m.to.Encode(at) }

// result waits for the outcomes.
func (m *member) result(progress func(attack.Progress)) (*attack.Result, error) {
	err := m.until(func(msg message) bool {
		if msg.Progress != nil {
			progress(*msg.Progress)
		}
		return msg.Done
	})
	if err != nil {
		return nil, err
	}
	return attack.Load(m.out)
}

// end stops the member, if it still runs, and waits for it.
func (m *member) end() error {
	_ = m.stdin.Close() // it may be closed already
	_, _ = io.Copy(io.Discard, m.out)
	return m.command.Wait()
}
