package prefork

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// worker is a worker process, as the master sees it.
type worker struct {
	slot       *slot
	proc       *process
	state      State
	generation int
	started    time.Time
	ready      time.Time // zero until it said so
	deadline   time.Time // when the patience with its state ends; zero: never
	requests   uint64
	busy       float64 // share of its time, as of its last beat
	measured   bool    // it has said how busy it is
	late       bool    // a beat is missing
	past       bool    // it is from before a reload
	recycle    bool    // it asked to be replaced
	dismissed  bool    // it was told to stop
	reason     string  // why the master killed it
}

// slot is a place for one worker, with its socket.
type slot struct {
	index       int
	worker      *worker   // who serves, or will
	next        *worker   // who is to take over from worker, starting
	old         *worker   // who was taken over from, leaving
	failures    int       // consecutive deaths before ready
	retryAt     time.Time // back-off: no new worker before
	recycleAt   time.Time // back-off of a replacement that failed
	fresh       bool      // added later, and never served yet
	drainSettle time.Time // giving up: connections under way have arrived by then
	drainUntil  time.Time // giving up: the worker leaves then at the latest; zero: not given up
}

func (s *slot) workers() []*worker {
	var all []*worker
	for _, w := range []*worker{s.worker, s.next, s.old} {
		if w != nil {
			all = append(all, w)
		}
	}
	return all
}

// system is what the master does to the world, as fields so that tests can put fakes in.
type system struct {
	spawn     func(spec, notice) (*process, error)
	first     func(context.Context, string) error // see sockets
	add       func(context.Context) error
	slot      func(int) int
	remove    func()
	close     func()
	steer     func([]int) error
	refuse    func() error
	queued    func(slot int) (int, error)
	jitter    func(time.Duration) time.Duration // a random part of d
	extra     func(uint64) uint64               // a random number up to n
	addr      func() string
	masterPID int

	rehearse func(context.Context, Command, calling, io.Writer) error
	handOver func(Command, calling, legacy, func() bool) error // see estate
	deliver  func()                                            // see deliverSignals

	watchStops func() (<-chan os.Signal, func())
	inherit    func(addr string, sockets []int)
	adopt      func(heir, io.Writer, notice) (*process, error)
}

func realSystem(mode Mode) system {
	s := &estate{sockets: sockets{mode: mode}}
	return system{
		spawn: s.spawn, first: s.first, add: s.add, slot: s.slot, remove: s.removeLast, close: s.close, steer: s.steer,
		refuse:    s.refuse,
		queued:    s.queued,
		jitter:    func(d time.Duration) time.Duration { return rand.N(d + 1) },
		extra:     func(n uint64) uint64 { return rand.Uint64N(n + 1) },
		addr:      func() string { return s.addr },
		masterPID: os.Getpid(),
		rehearse:  rehearse, watchStops: watchStops, deliver: deliverSignals, handOver: s.handOver, inherit: s.sockets.adopt, adopt: s.children.adopt,
	}
}

// message is a report together with the worker that it is about.
type message struct {
	worker *worker
	report report
}

// master owns all state. Only run and what it calls touch it, in one goroutine.
type master struct {
	cfg        Config
	sys        system
	signals    <-chan os.Signal
	messages   chan message
	gone       chan struct{} // closed when run has ended, for reports that come later
	slots      []*slot
	wanted     int
	command    Command
	fallback   Command // what to execute when a reload fails
	generation int
	reloading  bool
	everReady  bool
	allReady   bool // as of the last look
	started    bool // all were ready once
	stopping   bool
	stopAsked  time.Time
	stopBy     time.Time // who still runs then is killed
	draining   bool      // stopping, but the workers do not know yet: they empty the accept queues
	quick      bool
	fatal      error   // why the master gave up
	unclean    []error // workers that did not stop as they should
	tendency   tendency
	wake       time.Time
	steered    []int // the slots that new connections go to; nil: all
	changed    bool  // the roster, in more than a count
	counted    bool  // a request count
	nextCounts time.Time

	upgrade       *upgrade       // nil: none is under way
	upgrades      int            // how often this process has become another program
	rehearsals    sync.WaitGroup // one at most
	afterReload   int            // workers that there should be when the reload is over; 0: as many as now
	spoilt        bool           // the last reload or upgrade failed
	isAskedToStop func() bool
}

// Run listens on Config.Addr, starts the workers, keeps them running and blocks until they have all ended.
//
// When ctx ends, the workers get SIGTERM, and SIGKILL after Config.StopTimeout. Run returns nil when all of them then
// stopped with exit code 0, else an error that names those that did not. While it runs, it also heeds SIGQUIT (quick
// stop, returns nil), SIGHUP (rolling reload), SIGUSR2 (the same, and the master itself becomes the program that is on disk
// now, in the same process, so that Run does not return; Linux only; see Rehearses and Inherits), SIGTTIN and SIGTTOU (one
// worker more or fewer). SIGTERM, SIGINT, and what a
// second one does, are the caller's: it ends ctx.
//
// Other errors: bad configuration; an address that is in use (syscall.EADDRINUSE); *ExitError when workers end before
// they are ready, at once if the first one ends with BadConfigCode, else after Config.MaxFailures in a row. Once all have been
// ready, that ends Run only while none serves.
//
// A process runs one master at a time. If the master dies without returning, its workers notice and leave within
// OrphanGrace.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if cfg.Mode == ReusePort && !canShare {
		cfg.Log.Warn("SO_REUSEPORT does not spread connections on this system: the workers share one socket")
		cfg.Mode = Shared
	}
	cfg.Stderr = &lockedWriter{out: cfg.Stderr}
	call, err := called()
	if err != nil {
		return err
	}
	if call != nil && call.Rehearsal {
		return call.answer(cfg)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGUSR2)
	defer signal.Stop(signals)
	m := newMaster(cfg, realSystem(cfg.Mode), signals)
	if call == nil {
		return m.run(ctx, m.open)
	}
	l, err := call.legacy()
	if err != nil {
		return err
	}
	return m.run(ctx, func(context.Context) error {
		if err := m.adopt(l); err != nil {
			return err
		}
		for _, sig := range takeEarly() {
			m.heed(sig)
		}
		return nil
	})
}

func newMaster(cfg Config, sys system, signals <-chan os.Signal) *master {
	return &master{
		cfg: cfg, sys: sys, signals: signals, wanted: cfg.Workers,
		messages: make(chan message), gone: make(chan struct{}),
	}
}

// run is the loop: an event changes facts, then reconcile brings the world closer to what is wanted.
func (m *master) run(ctx context.Context, begin func(context.Context) error) error {
	defer m.rehearsals.Wait()
	defer close(m.gone)
	defer m.sys.close()
	m.isAskedToStop = func() bool { return ctx.Err() != nil }
	command, err := m.newCommand()
	if err != nil {
		return err
	}
	m.command, m.fallback = command, command
	if err := begin(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	for {
		m.reconcile(time.Now())
		if m.stopping && len(m.workers()) == 0 {
			return m.result()
		}
		timer.Reset(time.Until(m.wake))
		select {
		case <-done:
			done = nil
			m.told()
		case <-m.stops():
			m.told()
		case s := <-m.signals:
			m.heed(s)
		case msg := <-m.messages:
			m.handle(msg.worker, msg.report)
		case err := <-m.verdict():
			m.rehearsed(err)
		case <-timer.C:
		}
	}
}

// open opens the sockets of the first workers.
func (m *master) open(ctx context.Context) error {
	if err := m.sys.first(ctx, m.cfg.Addr); err != nil {
		return err
	}
	m.slots = []*slot{{}}
	for len(m.slots) < m.wanted {
		if err := m.addSlot(ctx); err != nil {
			return err
		}
	}
	m.cfg.Log.Info("master listens", "addr", m.sys.addr(), "mode", m.cfg.Mode, "workers", m.wanted)
	return nil
}

func (m *master) newCommand() (Command, error) {
	command, err := m.cfg.Command()
	if err != nil {
		return command, fmt.Errorf("prefork: %w", err)
	}
	return command.complete()
}

func (m *master) addSlot(ctx context.Context) error {
	if err := m.sys.add(ctx); err != nil {
		return err
	}
	m.slots = append(m.slots, &slot{index: len(m.slots)})
	return nil
}

// reconcile compares what is with what should be, and acts. It can be called at any time and any number of times.
func (m *master) reconcile(now time.Time) {
	m.wake = now.Add(time.Hour)
	for _, w := range m.workers() {
		m.judge(w, now)
	}
	for _, step := range []func(time.Time){m.scale, m.resize, m.fill, m.roll, m.steer, m.advance} {
		if !m.stopping { // a step may end in giving up
			step(now)
		}
	}
	if m.stopping {
		m.abandon(errors.New("the master was told to stop"))
		m.leave(now)
	}
	m.publish(now)
	for _, w := range m.workers() {
		if !w.deadline.IsZero() {
			m.wakeAt(w.deadline)
		}
	}
}

// wakeAt makes sure that reconcile runs again at t, if not before.
func (m *master) wakeAt(t time.Time) {
	if t.Before(m.wake) {
		m.wake = t
	}
}

// fill starts a worker in each slot that has none. Until one worker has been ready, slot 0 goes alone: a bad
// configuration then fails once and not in every slot, and the first worker finds no other in its way.
func (m *master) fill(now time.Time) {
	for _, s := range m.slots[:min(m.wanted, len(m.slots))] {
		if s.worker != nil || m.stopping || (s.index > 0 && !m.everReady) {
			continue
		}
		if now.Before(s.retryAt) {
			m.wakeAt(s.retryAt)
			continue
		}
		s.worker = m.start(s, now)
	}
}

// start executes a worker for the slot. It returns nil if that failed, after counting the failure.
func (m *master) start(s *slot, now time.Time) *worker {
	w := &worker{slot: s, state: Starting, generation: m.generation, started: now, deadline: now.Add(m.cfg.ReadyTimeout)}
	pass := passport{
		Slot: s.index, Workers: m.wanted, MaxWorkers: m.cfg.MaxWorkers, MasterPID: m.sys.masterPID,
		Generation: m.generation, Beat: m.cfg.beatInterval(),
	}
	if m.cfg.MaxRequests > 0 {
		pass.MaxRequests = m.cfg.MaxRequests + m.sys.extra(m.cfg.MaxRequestsJitter)
	}
	proc, err := m.sys.spawn(spec{
		command: m.command, passport: pass, socket: m.sys.slot(s.index), stdout: m.cfg.Stdout, stderr: m.cfg.Stderr,
	}, m.noticeOf(w))
	if err != nil {
		m.cfg.Log.Error("cannot start a worker", "slot", s.index, "error", err)
		m.endedEarly(w, exit{code: 1, words: err.Error()}, now)
		return nil
	}
	w.proc, m.changed = proc, true
	m.cfg.Log.Info("worker started", "slot", s.index, "worker_pid", proc.pid)
	return w
}

// noticeOf returns what brings a worker's reports to the master.
func (m *master) noticeOf(w *worker) notice {
	return func(r report, quit <-chan struct{}) bool {
		select {
		case m.messages <- message{w, r}:
			return true
		case <-quit:
		case <-m.gone:
		}
		return false
	}
}

// handle takes in what a worker says, or its end.
func (m *master) handle(w *worker, r report) {
	now := time.Now()
	if r.Kind == reportExit {
		m.exited(w, r.exit, now)
		return
	}
	if r.Requests != w.requests {
		w.requests, m.counted = r.Requests, true
	}
	if r.Busy != nil {
		w.busy, w.measured = *r.Busy, true
	}
	switch r.Kind {
	case reportReady:
		m.served(w, now)
	case reportRecycle:
		w.recycle = true
	case reportLeave:
		m.leaving(w, now)
	}
	if w.state == Serving && m.cfg.HeartbeatTimeout > 0 {
		w.late, w.deadline = false, now.Add(m.cfg.HeartbeatTimeout)
	}
}

// served notes that a worker is ready. One that was told to stop meanwhile stays leaving.
func (m *master) served(w *worker, now time.Time) {
	if w.state != Starting {
		return
	}
	w.ready, m.everReady = now, true
	m.become(w, Serving, time.Time{})
	w.slot.failures, w.slot.retryAt, w.slot.fresh = 0, time.Time{}, false
	m.cfg.Log.Info("worker is ready", "slot", w.slot.index, "worker_pid", w.proc.pid, "after", now.Sub(w.started).Round(time.Millisecond))
	if w.slot.next == w {
		m.takeOver(w.slot, now)
	}
}

// leaving makes room for another worker when somebody else has told this one to stop, while it finishes its requests.
func (m *master) leaving(w *worker, now time.Time) {
	s := w.slot
	if w.state != Serving || m.stopping || s.worker != w || s.next != nil || s.old != nil {
		return // the master itself wanted that, or another one is on its way
	}
	m.cfg.Log.Warn("worker leaves without being told by the master", "slot", s.index, "worker_pid", w.proc.pid)
	s.worker, s.old = nil, w
	w.dismissed = true
	m.become(w, Leaving, now.Add(m.cfg.StopTimeout))
}

// exited takes a worker that has ended out of its slot. The next reconcile fills the gap.
func (m *master) exited(w *worker, e exit, now time.Time) {
	s := w.slot
	switch w {
	case s.worker:
		s.worker, s.next = s.next, nil // a replacement that starts already becomes the worker
	case s.next:
		s.next = nil
	case s.old:
		s.old = nil
	default:
		return // forgotten before
	}
	m.changed = true
	log := m.cfg.Log.With("slot", s.index, "worker_pid", w.proc.pid, "code", e.code, "requests", w.requests)
	if e.signal != 0 {
		log = log.With("signal", e.signal.String())
	}
	switch {
	case m.stopping || w.dismissed:
		log.Info("worker left", "reason", w.reason)
		m.note(w, e)
	case !w.ready.IsZero():
		log.Error("worker died: starting another", "reason", w.reason)
	default:
		m.endedEarly(w, e, now)
	}
}

// endedEarly deals with a death before ready, after the dead one has left its slot.
func (m *master) endedEarly(w *worker, e exit, now time.Time) {
	if w.slot.worker != nil {
		m.replacementFailed(w, e, now)
		return
	}
	if m.reloading && m.everReady && !w.past { // whose place it was to take has died meanwhile
		m.abandonReload(w, e)
	}
	m.failed(w, e, now)
}

// failed counts a death before ready. It lets the slot wait before the next try, or gives up.
func (m *master) failed(w *worker, e exit, now time.Time) {
	s := w.slot
	s.failures++
	badConfig := e.code == BadConfigCode && !m.everReady
	if badConfig || (s.failures >= m.cfg.MaxFailures && !m.mustBear()) {
		m.giveUp(w, e)
		return
	}
	wait := m.backoff(s.failures)
	s.retryAt = now.Add(wait)
	m.wakeAt(s.retryAt)
	text := "worker ended before it was ready"
	if s.failures >= m.cfg.MaxFailures {
		text = "a worker does not get ready: the others go on without it, and it is tried again; look at the program and its configuration"
	}
	m.cfg.Log.Error(text, "slot", s.index, "failures", s.failures, "code", e.code,
		"reason", w.reason, "again_in", wait.Round(time.Millisecond))
}

// mustBear says whether the workers that serve are worth more than an end. Once all have served, what is on disk may have
// become worse, by a file that is half edited or a reload that failed, and nothing better would come up in their place.
func (m *master) mustBear() bool { return (m.started || m.spoilt) && m.roster().Count(Serving) > 0 }

// backoff doubles with each failure; the upper half of it is random, so that slots do not start in step.
func (m *master) backoff(failures int) time.Duration {
	d := m.cfg.BackoffMin
	for i := 1; i < failures && d < m.cfg.BackoffMax; i++ {
		d *= 2
	}
	d = min(d, m.cfg.BackoffMax)
	return d/2 + m.sys.jitter(d/2)
}

// heed acts on a signal to the master.
func (m *master) heed(sig os.Signal) {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT: // early ones
		m.told()
	case syscall.SIGQUIT:
		m.cfg.Log.Info("stopping the workers quickly", "limit", m.cfg.QuickTimeout)
		m.quick = true
		m.stop(m.cfg.QuickTimeout)
	case syscall.SIGHUP:
		m.reload()
	case syscall.SIGUSR2:
		m.upgradeProgram()
	case syscall.SIGTTIN:
		m.want(m.wanted + 1)
	case syscall.SIGTTOU:
		m.want(m.wanted - 1)
	}
}

// workers returns all workers, ordered by slot.
func (m *master) workers() []*worker {
	var all []*worker
	for _, s := range m.slots {
		all = append(all, s.workers()...)
	}
	return all
}
