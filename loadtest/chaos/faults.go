package chaos

import (
	"context"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"example.com/flashsale/harness/stage"
)

const (
	// killEvery is the time between two workers that are killed.
	killEvery = 300 * time.Millisecond
	// replaceLimit is how soon a dead worker's replacement serves, beyond what it needs to start.
	replaceLimit = 200 * time.Millisecond
	// goneLimit is how soon workers are gone after their master, and the port is free.
	goneLimit = time.Second
	// drainLimit is how long a graceful stop may take: the stage's own time-out, and what follows it.
	drainLimit = 13 * time.Second
	// rest is what buyers get between two workers that hang.
	rest = time.Second
	// heartbeat is the stage's time-out where workers get stuck.
	heartbeat = 2 * time.Second
)

// fault is one kind of harm.
type fault struct {
	name, about string
	env         []string // settings of the stage; nil: none
	recycle     bool     // workers are replaced after some orders
	ends        bool     // the stage ends with it
	replaces    bool     // the stage's program is replaced on disk
	recovers    bool     // there is something to recover from, and how long it took is known
	gentle      bool     // planned work of which no buyer should notice more than one lost attempt
	inflict     func(context.Context, *trial) error
}

// faults are all that this system allows, in the order in which they are inflicted.
var faults = slices.DeleteFunc([]fault{
	{name: "kill-worker", about: "SIGKILL to a random worker every 300 ms", recovers: true, inflict: killWorkers},
	{name: "reload", about: "SIGHUP: all workers are replaced, one by one", gentle: true, recovers: true, inflict: reload},
	{name: "upgrade", about: "SIGUSR2: the master becomes the program that has just been put in its place", gentle: true, replaces: true, recovers: true, inflict: upgrade},
	{name: "resize", about: "SIGTTIN and SIGTTOU: a worker more, and one fewer", gentle: true, recovers: true, inflict: resize},
	{name: "recycle", about: "workers are replaced after 500 orders", recycle: true, gentle: true, inflict: recycle},
	{name: "hang", about: "SIGSTOP to a random worker, for longer than the heartbeat", env: []string{"HEARTBEAT_TIMEOUT=" + heartbeat.String()}, recovers: true, inflict: hang},
	{name: "term", about: "SIGTERM to the master: everything accepted is there, exit code 0", ends: true, recovers: true, inflict: term},
	{name: "kill-master", about: "SIGKILL to the master: all is gone within a second", ends: true, recovers: true, inflict: killMaster},
	{name: "balance", about: "64 connections, a socket per worker", inflict: balance},
	{name: "balance-shared", about: "64 connections, one socket for all", env: []string{"LISTEN=shared"}, inflict: balanceShared},
}, func(f fault) bool { return f.replaces && !canUpgrade })

// Names returns the names of all faults.
func Names() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

// Recovers says whether there is anything to recover from after a fault of that name: whether its recovery is measured.
func Recovers(name string) bool {
	return slices.ContainsFunc(faults, func(f fault) bool { return f.name == name && f.recovers })
}

// About returns one line per fault, for --help.
func About() string {
	var text string
	for _, f := range faults {
		text += fmt.Sprintf("  %-15s %s\n", f.name, f.about)
	}
	return text
}

// recycleAfter and recycleShort are the orders after which a worker is replaced, where the fault asks for that.
const (
	recycleAfter = 500
	recycleShort = 100
	// shortFault is the duration below which it is recycleShort.
	shortFault = 5 * time.Second
)

func (f fault) settings(cfg Config) []string {
	env := f.env
	if f.recycle {
		after := recycleAfter
		if cfg.Duration < shortFault {
			after = recycleShort
		}
		env = append(slices.Clip(env), fmt.Sprintf("MAX_REQUESTS=%d", after))
	}
	return env
}

// killed is a worker that was killed and is not replaced yet.
type killed struct {
	stage.Worker
	at time.Time
}

// killWorkers kills at a steady pace, whether or not the ones before are replaced yet.
func killWorkers(ctx context.Context, t *trial) error {
	var pending []killed
	tick := time.NewTicker(killEvery)
	defer tick.Stop()
	workers, news := t.watch.latest()
	for t.lasts(ctx) {
		select {
		case <-ctx.Done():
		case <-news:
			workers, news = t.watch.latest()
			pending = t.settle(pending, workers)
		case <-tick.C:
			if victim, ok := t.pick(workers, pending); ok && syscall.Kill(victim.Pid, syscall.SIGKILL) == nil {
				pending = append(pending, killed{victim, time.Now()})
				t.result.Times++
			}
		}
	}
	_, err := t.watch.until(ctx, "every killed worker is replaced", func(workers []stage.Worker) bool {
		pending = t.settle(pending, workers)
		return len(pending) == 0
	})
	return err
}

// pick returns a random worker that serves and is not known to be dead.
func (t *trial) pick(workers []stage.Worker, pending []killed) (stage.Worker, bool) {
	alive := slices.DeleteFunc(serving(workers), func(w stage.Worker) bool {
		return slices.ContainsFunc(pending, func(k killed) bool { return k.Pid == w.Pid })
	})
	if len(alive) == 0 {
		return stage.Worker{}, false
	}
	return alive[t.rng.IntN(len(alive))], true
}

// settle notes which of the killed are replaced, and returns the others.
func (t *trial) settle(pending []killed, workers []stage.Worker) []killed {
	return slices.DeleteFunc(pending, func(k killed) bool {
		next, ok := successor(workers, k.Worker)
		if !ok {
			return false
		}
		took := time.Since(k.at)
		t.recovered(took)
		boot := time.Duration(0)
		if next.BootMS != nil {
			boot = time.Duration(*next.BootMS * float64(time.Millisecond))
			if t.result.BootMS == nil || *next.BootMS > *t.result.BootMS {
				t.result.BootMS = next.BootMS
			}
		}
		if limit := boot + t.limit(replaceLimit); took > limit {
			t.miss("worker %d served again %v after it was killed, of which %v were its start", k.Slot, took.Round(time.Millisecond), boot.Round(time.Millisecond))
		}
		return true
	})
}

// reload has all workers replaced again and again.
func reload(ctx context.Context, t *trial) error {
	for t.lasts(ctx) {
		if err := t.process.Signal(syscall.SIGHUP); err != nil {
			return err
		}
		t.result.Times++
		took, err := t.watch.until(ctx, "all workers are reloaded", func(workers []stage.Worker) bool {
			past := slices.ContainsFunc(workers, func(w stage.Worker) bool { return w.Generation < t.result.Times })
			return !past && len(serving(workers)) == t.health.Processes
		})
		if err != nil {
			return err
		}
		t.recovered(took)
	}
	return ctx.Err()
}

// resize adds a worker and takes it away, again and again.
func resize(ctx context.Context, t *trial) error {
	for t.lasts(ctx) {
		for _, step := range []struct {
			signal  syscall.Signal
			workers int
		}{{syscall.SIGTTIN, t.health.Processes + 1}, {syscall.SIGTTOU, t.health.Processes}} {
			if err := t.process.Signal(step.signal); err != nil {
				return err
			}
			t.result.Times++
			took, err := t.watch.until(ctx, fmt.Sprintf("%d workers serve", step.workers), func(workers []stage.Worker) bool {
				return len(workers) == step.workers && len(serving(workers)) == step.workers
			})
			if err != nil {
				return err
			}
			t.recovered(took)
		}
	}
	return ctx.Err()
}

// recycle lets the load do the harm. It lasts until as many workers as there are have been replaced, at least.
func recycle(ctx context.Context, t *trial) error {
	seen := map[int]bool{}
	note := func(workers []stage.Worker) bool {
		for _, w := range workers {
			seen[w.Pid] = true
		}
		return !t.lasts(ctx) && len(seen) >= 2*t.health.Processes
	}
	_, err := t.watch.until(ctx, "the workers are recycled", note)
	t.result.Times = max(len(seen)-t.health.Processes, 0)
	return err
}

// hang stops a worker, waits until it is replaced, and goes on with another.
func hang(ctx context.Context, t *trial) error {
	for again := true; again; again = t.lasts(ctx) {
		var victim stage.Worker
		if _, err := t.watch.until(ctx, "a worker serves", func(workers []stage.Worker) (ok bool) {
			victim, ok = t.pick(workers, nil)
			return ok
		}); err != nil {
			return err
		}
		if err := syscall.Kill(victim.Pid, syscall.SIGSTOP); err != nil {
			continue // it has just been replaced
		}
		t.result.Times++
		took, err := t.watch.until(ctx, "the hung worker is replaced", func(workers []stage.Worker) bool {
			_, ok := successor(workers, victim)
			return ok
		})
		if err != nil {
			return err
		}
		t.recovered(took)
		if t.lasts(ctx) && !sleep(ctx, rest) {
			return context.Cause(ctx)
		}
	}
	return ctx.Err()
}

// term stops the master in the midst of the load.
func term(ctx context.Context, t *trial) error {
	if !sleep(ctx, t.Duration/2) {
		return context.Cause(ctx)
	}
	began := time.Now()
	if err := t.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	t.result.Times++
	bounded, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	if err := t.process.Wait(bounded); err != nil {
		return err
	}
	took := time.Since(began)
	t.recovered(took)
	if code := t.process.ExitCode(); code != 0 {
		t.miss("its exit code is %d", code)
	}
	if took > t.limit(drainLimit) {
		t.miss("it took %v to stop", took.Round(time.Millisecond))
	}
	return nil
}

// killMaster kills the master in the midst of the load, and only it.
func killMaster(ctx context.Context, t *trial) error {
	if !sleep(ctx, t.Duration/2) {
		return context.Cause(ctx)
	}
	pids := t.process.Tree()
	began := time.Now()
	if err := t.process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	t.result.Times++
	for slices.ContainsFunc(pids, stage.Running) || !isFree(ctx, t.process.Addr) {
		if !sleep(ctx, 5*time.Millisecond) {
			return context.Cause(ctx)
		}
		if time.Since(began) > waitLimit {
			return fmt.Errorf("%w until the workers are gone and %s is free", errLate, t.process.Addr)
		}
	}
	took := time.Since(began)
	t.recovered(took)
	if took > t.limit(goneLimit) {
		t.miss("it took %v until all were gone and the port was free", took.Round(time.Millisecond))
	}
	return nil
}

// isFree says whether somebody else could listen there now.
func isFree(ctx context.Context, addr string) bool {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	_ = ln.Close()
	return true
}
