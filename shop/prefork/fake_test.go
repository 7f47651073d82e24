package prefork

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// world is a system for a master under test, inside a synctest bubble: its time is not real, nor is anything else. The
// test plays the workers. The test reads and writes the fields while the master is idle (see settle); the master's side
// takes the lock, which is all that orders the two in the eyes of the race detector.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	signals chan os.Signal
	cancel  context.CancelFunc
	err     error
	done    chan struct{}
	began   time.Time
	log     *buffer

	procs      []*fakeProc
	events     []string // what the master did to the sockets
	queue      map[int]int
	sockets    int
	roster     Roster
	deaf       bool // workers do not heed SIGTERM and SIGABRT
	unkillable bool
	spawnErr   error
	addErr     error
	env        []string // what Config.Command returns at the next call
	commandErr error

	verdicts  chan error // ends a rehearsal
	rehearsed []Command
	handOver  []legacy
	refusal   error // of handing over
	stops     chan os.Signal
	watched   int       // watches of stops under way
	onItsWay  os.Signal // it is delivered to stops at the last look
}

// fakeProc is a worker process.
type fakeProc struct {
	world   *world
	spec    spec
	pid     int
	notify  notice
	started time.Duration // since the test began
	signals []syscall.Signal
	rosters []Roster
	gone    bool
}

// inWorld runs test with a master that has been started and waits for its first worker. Afterwards the master is stopped.
func inWorld(t *testing.T, cfg Config, test func(w *world)) {
	t.Helper()
	inWorldOf(t, cfg, nil, test)
}

// inWorldOf is inWorld with a master that follows another one, which has left l.
func inWorldOf(t *testing.T, cfg Config, l *legacy, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{
			t: t, signals: make(chan os.Signal), cancel: cancel, done: make(chan struct{}), began: time.Now(),
			queue: map[int]int{}, log: &buffer{}, verdicts: make(chan error), stops: make(chan os.Signal, 1),
		}
		cfg.Addr = "test:1"
		cfg.Log = slog.New(slog.NewTextHandler(w.log, nil))
		cfg.OnChange = func(r Roster) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.roster = r
		}
		cfg.Command = func() (Command, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return Command{Env: w.env}, w.commandErr
		}
		w.env = []string{"VERSION=1"}
		cfg, err := cfg.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		m := newMaster(cfg, w.system(), w.signals)
		begin := m.open
		if l != nil {
			begin = func(context.Context) error { return m.adopt(l) }
		}
		go func() {
			defer close(w.done)
			w.err = m.run(ctx, begin)
		}()
		defer w.end()
		w.settle()
		test(w)
	})
}

// end stops the master, also after a test that has failed, and checks that it left nobody behind.
func (w *world) end() {
	w.deaf, w.unkillable = false, false
	_ = w.stop()
	if w.watched != 0 {
		w.t.Error("the master has ended and signals to stop are still watched")
	}
	for _, p := range w.procs {
		if !p.gone {
			w.t.Errorf("the master has ended and worker %d (slot %d) has not", p.pid, p.spec.passport.Slot)
		}
	}
	if w.t.Failed() {
		w.t.Log(w.log.String())
	}
}

func (w *world) system() system {
	return system{
		spawn: w.spawn,
		first: func(context.Context, string) error { return w.event("first", 1) },
		add: func(context.Context) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.addErr == nil {
				w.sockets++
			}
			return w.addErr
		},
		slot:   func(int) int { return -1 },
		remove: func() { _ = w.event("remove", -1) },
		close:  func() { _ = w.event("close", 0) },
		steer: func(to []int) error {
			text := []string{"steer"}
			for _, slot := range to {
				text = append(text, string(rune('0'+slot)))
			}
			return w.event(strings.Join(text, " "), 0)
		},
		refuse: func() error { return w.event("refuse", 0) },
		queued: func(slot int) (int, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.queue[slot], nil
		},
		jitter:    func(d time.Duration) time.Duration { return d },
		extra:     func(n uint64) uint64 { return n },
		addr:      func() string { return "test:1" },
		masterPID: 1,
		rehearse:  w.rehearse,
		handOver: func(_ Command, _ calling, l legacy, ready func() bool) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			expected := w.onItsWay == nil
			if ready() != expected {
				w.t.Errorf("the master thinks that it can hand over: %v, want %v", !expected, expected)
			}
			if !expected {
				return errNotNow
			}
			w.handOver = append(w.handOver, l)
			return w.refusal
		},
		watchStops: func() (<-chan os.Signal, func()) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.watched++
			return w.stops, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.watched--
			}
		},
		deliver: func() { // called by handOver, which has the lock
			if w.onItsWay != nil {
				w.stops <- w.onItsWay
			}
		},
		inherit: func(_ string, sockets []int) { _ = w.event("first", len(sockets)) },
		adopt: func(h heir, _ io.Writer, notify notice) (*process, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			p := &fakeProc{world: w, pid: h.PID, notify: notify, started: w.now()}
			p.spec.passport.Slot = len(w.procs)
			w.procs = append(w.procs, p)
			return &process{pid: p.pid, signal: p.signal, tell: p.tell}, nil
		},
	}
}

// rehearse lasts until the test says how it ends, or the master ends it.
func (w *world) rehearse(ctx context.Context, command Command, _ calling, _ io.Writer) error {
	w.mu.Lock()
	w.rehearsed = append(w.rehearsed, command)
	w.mu.Unlock()
	select {
	case err := <-w.verdicts:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// judge ends a rehearsal.
func (w *world) judge(err error) {
	w.verdicts <- err
	w.settle()
}

// event notes what the master did, once in a row, and how it changed the number of sockets.
func (w *world) event(text string, sockets int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sockets += sockets
	if n := len(w.events); text != "first" && (n == 0 || w.events[n-1] != text) {
		w.events = append(w.events, text)
	}
	return nil
}

func (w *world) spawn(s spec, notify notice) (*process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spawnErr != nil {
		return nil, w.spawnErr
	}
	p := &fakeProc{world: w, spec: s, pid: 100 + len(w.procs), notify: notify, started: w.now()}
	w.procs = append(w.procs, p)
	return &process{pid: p.pid, signal: p.signal, tell: p.tell}, nil
}

func (p *fakeProc) tell(r Roster) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.rosters = append(p.rosters, r)
}

// signal is what the kernel and a well-behaved worker do.
func (p *fakeProc) signal(sig syscall.Signal) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.signals = append(p.signals, sig)
	switch {
	case sig == syscall.SIGKILL && !p.world.unkillable:
		go p.end(exit{code: -1, signal: sig})
	case sig == syscall.SIGTERM && !p.world.deaf:
		go p.end(exit{})
	case sig == syscall.SIGABRT && !p.world.deaf:
		go p.end(exit{code: 2})
	}
}

func (p *fakeProc) end(e exit) {
	p.world.mu.Lock()
	first := !p.gone
	p.gone = true
	p.world.mu.Unlock()
	if first {
		p.notify(report{Kind: reportExit, exit: e}, nil)
	}
}

// The worker acts; each returns when the master has reacted.

func (p *fakeProc) ready()               { p.say(report{Kind: reportReady}) }
func (p *fakeProc) beat(requests uint64) { p.say(report{Kind: reportBeat, Requests: requests}) }
func (p *fakeProc) askRecycle()          { p.say(report{Kind: reportRecycle}) }
func (p *fakeProc) leave()               { p.say(report{Kind: reportLeave}) }
func (p *fakeProc) exit(code int)        { p.end(exit{code: code, words: "last words"}); p.world.settle() }

func (p *fakeProc) say(r report) {
	p.notify(r, nil)
	p.world.settle()
}

// settle waits until the master has nothing to do.
func (w *world) settle() {
	w.touch()
	synctest.Wait()
	w.touch()
}

// touch orders what the test has done before what the master does, and the other way round.
func (w *world) touch() {
	w.mu.Lock()
	defer w.mu.Unlock()
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	w.touch()
	<-time.After(d)
	w.settle()
}

func (w *world) send(sig syscall.Signal) {
	w.signals <- sig
	w.settle()
}

func (w *world) now() time.Duration { return time.Since(w.began) }

// stop ends the master's context and returns what run returned.
func (w *world) stop() error {
	w.cancel()
	return w.result()
}

func (w *world) result() error {
	w.t.Helper()
	w.touch()
	defer w.touch()
	select {
	case <-w.done:
	case <-time.After(time.Hour):
		w.t.Fatal("the master does not end")
	}
	return w.err
}

// running returns the processes of the slot that run, oldest first.
func (w *world) running(slot int) []*fakeProc {
	var all []*fakeProc
	for _, p := range w.procs {
		if p.spec.passport.Slot == slot && !p.gone {
			all = append(all, p)
		}
	}
	return all
}

// only returns the one process of the slot.
func (w *world) only(slot int) *fakeProc {
	w.t.Helper()
	all := w.running(slot)
	if len(all) != 1 {
		w.t.Fatalf("slot %d has %d processes, want 1", slot, len(all))
	}
	return all[0]
}

// allReady lets all n workers come up.
func (w *world) allReady(n int) {
	w.t.Helper()
	for slot := range n {
		w.only(slot).ready()
	}
	if !w.roster.Ready() {
		w.t.Fatalf("not ready: %+v", w.roster)
	}
}

// expect checks how many processes have been started up to now.
func (w *world) expect(started int, when string) {
	w.t.Helper()
	if len(w.procs) != started {
		w.t.Fatalf("%s: %d workers were started, want %d", when, len(w.procs), started)
	}
}

func (p *fakeProc) expectSignals(want ...syscall.Signal) {
	p.world.t.Helper()
	if !slices.Equal(p.signals, want) {
		p.world.t.Errorf("worker %d (slot %d) got signals %v, want %v", p.pid, p.spec.passport.Slot, p.signals, want)
	}
}

var errTest = errors.New("no more processes")
