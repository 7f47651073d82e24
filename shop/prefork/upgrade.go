package prefork

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// phase is how far an upgrade is.
type phase int

const (
	upgradeAsked      phase = iota // it waits until all workers serve and nobody is being replaced
	upgradeRehearsing              // the new program is run as a master, up to the moment before it would take over
	upgradeProving                 // one worker is replaced by one of the new program
	upgradeProven                  // what is left is a moment at which all workers serve
)

// upgrade is the change of the master's own program. Whatever fails before its last step changes nothing, or leaves one
// worker of the new program.
//
//	asked ──► rehearsing ──► proving ──► proven ──► this process executes the new program, which adopts the workers (see
//	  │            │            │           │       adopt) and replaces them one by one
//	  └────────────┴────────────┴───────────┴─────► abandoned: the master goes on as before
type upgrade struct {
	phase    phase
	command  Command
	deadline time.Time
	verdict  chan error // of the rehearsal; holds one
	cancel   context.CancelFunc

	stops   <-chan os.Signal // those that end the caller's context: that takes a moment more than to get them
	unwatch func()
}

// upgradeProgram begins an upgrade.
func (m *master) upgradeProgram() {
	if m.stopping {
		return
	}
	if m.upgrade != nil {
		m.cfg.Log.Warn("an upgrade is under way already")
		return
	}
	command, err := m.newCommand()
	if !canUpgrade {
		err = errors.ErrUnsupported
	}
	if err != nil {
		m.cfg.Log.Error("upgrade refused: all stays as it is", "error", err)
		return
	}
	m.cfg.Log.Info("upgrade: trying the new program", "path", command.Path)
	limit := 2 * (m.cfg.ReadyTimeout + m.cfg.StopTimeout) // there may be a reload to wait for
	m.upgrade = &upgrade{command: command, deadline: time.Now().Add(limit), verdict: make(chan error, 1), cancel: func() {}}
	m.upgrade.stops, m.upgrade.unwatch = m.sys.watchStops()
}

// advance takes the next step of an upgrade, if it is time for it.
func (m *master) advance(now time.Time) {
	u := m.upgrade
	if u == nil {
		return
	}
	if !now.Before(u.deadline) {
		m.abandon(errors.New("it took too long"))
		return
	}
	m.wakeAt(u.deadline)
	if !m.isCalm() {
		return
	}
	switch u.phase {
	case upgradeAsked:
		m.rehearse(u)
	case upgradeProving: // the worker of the new program serves
		u.phase = upgradeProven
		m.handOver(now)
	case upgradeProven:
		m.handOver(now)
	case upgradeRehearsing: // its end is an event
	}
}

// isCalm says whether each slot has one worker, all of them serve, and nothing is to be done to them.
func (m *master) isCalm() bool {
	return !m.reloading && m.steered == nil && len(m.slots) == m.wanted && !slices.ContainsFunc(m.slots, func(s *slot) bool {
		return s.worker == nil || s.worker.state != Serving || s.worker.late || s.next != nil || s.old != nil
	})
}

// rehearse runs the new program as a master, beside this one.
func (m *master) rehearse(u *upgrade) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), m.cfg.ReadyTimeout,
		fmt.Errorf("no answer within %v", m.cfg.ReadyTimeout))
	u.phase, u.cancel = upgradeRehearsing, cancel
	call := m.calling()
	m.rehearsals.Go(func() {
		defer cancel()
		u.verdict <- m.sys.rehearse(ctx, u.command, call, m.cfg.Stderr)
	})
}

func (m *master) calling() calling {
	return calling{Format: legacyFormat, Addr: m.cfg.Addr, Mode: m.cfg.Mode}
}

// verdict returns the channel of the rehearsal's end, or nil.
func (m *master) verdict() <-chan error {
	if m.upgrade == nil {
		return nil
	}
	return m.upgrade.verdict
}

// rehearsed goes on after a rehearsal: one worker of the new program has to serve before the master trusts it.
func (m *master) rehearsed(err error) {
	if err != nil {
		m.abandon(err)
		return
	}
	m.upgrade.phase = upgradeProving
	if m.stopping || len(m.slots) == 0 || m.slots[0].worker == nil {
		m.abandon(errors.New("its first worker has just died"))
		return
	}
	m.renew(m.upgrade.command, m.slots[0].worker)
}

// abandon ends an upgrade without one.
func (m *master) abandon(why error) {
	if m.upgrade == nil {
		return
	}
	u := m.upgrade
	text := "upgrade abandoned: the master and the workers go on as before"
	if u.phase == upgradeProven {
		text = "upgrade abandoned: the master goes on as before, and one worker is of the new program"
	}
	m.cfg.Log.Error(text, "error", why)
	u.cancel()
	u.unwatch()
	m.upgrade, m.spoilt = nil, true
	select {
	case <-u.stops:
		m.told()
	default:
	}
}

// stops returns the channel of signals to stop while an upgrade is under way, or nil.
func (m *master) stops() <-chan os.Signal {
	if m.upgrade == nil {
		return nil
	}
	return m.upgrade.stops
}

// handOverPause is how long the master waits before it tries again to hand over.
const handOverPause = 5 * time.Millisecond

// handOver makes this process the next master. The workers do not notice.
func (m *master) handOver(now time.Time) {
	// The proof and what adopt does are one reload.
	l := legacy{Configured: m.cfg.Workers, Generation: m.generation - 1, Upgrades: m.upgrades + 1}
	for _, s := range m.slots {
		w := s.worker
		l.Workers = append(l.Workers, heir{
			PID: w.proc.pid, Started: w.started, Ready: w.ready, Generation: w.generation, Requests: w.requests, Recycle: w.recycle,
		})
	}
	err := m.sys.handOver(m.upgrade.command, m.calling(), l, m.isQuiet)
	if errors.Is(err, errNotNow) {
		m.wakeAt(now.Add(handOverPause))
		return
	}
	m.abandon(err)
}

// isQuiet says whether nobody has said anything to the master that it has not heeded yet. It looks at the signals to stop
// themselves, as the caller's context ends a little later.
func (m *master) isQuiet() bool {
	m.sys.deliver()
	return len(m.signals) == 0 && len(m.stops()) == 0 && !m.isAskedToStop()
}

// watchStops gets the signals to stop too, beside the caller, until the end.
func watchStops() (stops <-chan os.Signal, end func()) {
	c := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
	return c, func() { signal.Stop(c) }
}

// deliverSignals returns when the signals that this process has taken from the kernel are in the channels of all who want
// them: Stop waits for that, so that none falls between two.
func deliverSignals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR2) // which somebody else wants, too, so that nothing changes
	signal.Stop(c)
}

// adopt takes over from the master before. Its workers go on, and are replaced one by one: they are to be what this
// program makes them.
func (m *master) adopt(l *legacy) error {
	if len(l.Workers) == 0 || len(l.Sockets) == 0 {
		return errors.New("prefork: the master before has left no workers")
	}
	now := time.Now()
	m.sys.inherit(l.Addr, l.Sockets)
	m.everReady, m.started, m.allReady, m.changed = true, true, true, true
	m.wanted, m.generation, m.upgrades = len(l.Workers), l.Generation, l.Upgrades
	for i, h := range l.Workers {
		s := &slot{index: i}
		w := &worker{
			slot: s, state: Serving, generation: h.Generation, started: h.Started, ready: h.Ready, requests: h.Requests, recycle: h.Recycle,
		}
		if m.cfg.HeartbeatTimeout > 0 {
			w.deadline = now.Add(m.cfg.HeartbeatTimeout)
		}
		proc, err := m.sys.adopt(h, m.cfg.Stderr, m.noticeOf(w))
		if err != nil {
			return err
		}
		w.proc, s.worker = proc, w
		m.slots = append(m.slots, s)
	}
	m.cfg.Log.Info("upgraded: this program is the master now", "addr", m.sys.addr(), "workers", m.wanted, "upgrades", m.upgrades)
	m.resizeAfter(l.Configured)
	m.renew(m.command, m.workers()...)
	return nil
}

// resizeAfter brings the number of workers in line with the configuration of this master. Fewer are fewer at once; more
// have to wait until the workers of the master before are gone, which may hold more connections than is their share now.
func (m *master) resizeAfter(configured int) {
	target := m.wanted
	if m.cfg.Workers != configured {
		target = m.cfg.Workers // else TTIN, TTOU or the load have made it what it is
	}
	target = min(max(target, m.cfg.Scaling.Min), m.cfg.MaxWorkers)
	if target > m.wanted {
		m.afterReload = target
	} else if target < m.wanted {
		m.want(target)
	}
}
