package prefork

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// judge takes the next step against a worker whose deadline has passed.
func (m *master) judge(w *worker, now time.Time) {
	if w.deadline.IsZero() || now.Before(w.deadline) {
		return
	}
	switch w.state {
	case Starting:
		m.kill(w, now, fmt.Sprintf("not ready within %v", m.cfg.ReadyTimeout))
	case Serving:
		m.missBeat(w, now)
	case Hung:
		m.kill(w, now, fmt.Sprintf("no heartbeat for %v", m.cfg.HeartbeatTimeout))
	case Leaving:
		m.kill(w, now, "did not stop in time")
	case Killed:
		m.cfg.Log.Error("a killed worker does not end: forgotten", "slot", w.slot.index, "worker_pid", w.proc.pid)
		m.handle(w, report{Kind: reportExit, exit: exit{code: -1, signal: syscall.SIGKILL}})
	}
}

// missBeat asks a hung worker for its goroutines, on its standard error, which also ends it. But first it waits for one
// more beat: if the master itself was paused, the beats are there and only not read yet.
func (m *master) missBeat(w *worker, now time.Time) {
	if !w.late {
		w.late, w.deadline = true, now.Add(m.cfg.beatInterval())
		return
	}
	m.cfg.Log.Error("worker is hung: no heartbeat", "slot", w.slot.index, "worker_pid", w.proc.pid, "for", m.cfg.HeartbeatTimeout)
	w.proc.signal(syscall.SIGABRT)
	m.become(w, Hung, now.Add(m.cfg.AbortTimeout))
}

// killPatience is how long a killed worker may take to end; only one in an uninterruptible system call needs any.
const killPatience = 5 * time.Second

func (m *master) kill(w *worker, now time.Time, reason string) {
	m.cfg.Log.Error("killing worker", "slot", w.slot.index, "worker_pid", w.proc.pid, "reason", reason)
	w.reason = reason
	w.proc.signal(syscall.SIGKILL)
	m.become(w, Killed, now.Add(killPatience))
}

// dismiss tells a worker to stop, and gives it until the deadline.
func (m *master) dismiss(w *worker, deadline time.Time) {
	switch w.state {
	case Starting, Serving:
		w.proc.signal(syscall.SIGTERM)
		w.dismissed = true
		m.become(w, Leaving, deadline)
	case Leaving:
		if deadline.Before(w.deadline) {
			w.deadline = deadline
		}
	case Hung, Killed: // on its way
	}
}

func (m *master) become(w *worker, state State, deadline time.Time) {
	w.state, w.deadline, m.changed = state, deadline, true
}

// giveUp ends the master because the worker cannot come up.
func (m *master) giveUp(w *worker, e exit) {
	if m.stopping {
		return
	}
	err := &ExitError{
		Slot: w.slot.index, Code: max(e.code, 1), Signal: e.signal, Failures: w.slot.failures, Reason: w.reason, Words: e.words,
	}
	if w.proc != nil {
		err.PID = w.proc.pid
	}
	m.fatal = err
	m.cfg.Log.Error("giving up: worker does not get ready", "slot", err.Slot, "failures", err.Failures, "code", err.Code)
	m.stop(m.cfg.StopTimeout)
}

// told begins the end that the caller wants.
func (m *master) told() {
	if !m.stopping {
		m.cfg.Log.Info("stopping the workers", "limit", m.cfg.StopTimeout)
	}
	m.stop(m.cfg.StopTimeout)
}

// stop begins the end. No new connection is let in, and leave does the rest.
func (m *master) stop(limit time.Duration) {
	now := time.Now()
	if !m.stopping {
		m.stopping, m.stopAsked, m.stopBy = true, now, now.Add(limit)
		m.draining = m.sys.refuse() == nil
	}
	if by := now.Add(limit); by.Before(m.stopBy) {
		m.stopBy = by
	}
}

// leave dismisses all workers, once they have emptied the accept queues: closing the sockets resets what waits there.
// The master gives up its own descriptors then, so the port is free as soon as the workers have closed theirs.
func (m *master) leave(now time.Time) {
	m.draining = m.draining && m.isEmptying(now)
	if m.draining {
		m.wakeAt(now.Add(drainPoll))
		return
	}
	m.sys.close()
	for _, w := range m.workers() {
		m.dismiss(w, m.stopBy)
	}
}

// isEmptying says whether it is worth waiting for the accept queues.
func (m *master) isEmptying(now time.Time) bool {
	if m.quick || m.roster().Count(Serving) == 0 || now.Sub(m.stopAsked) >= m.cfg.DrainTimeout {
		return false
	}
	if now.Sub(m.stopAsked) < stopSettle {
		return true
	}
	for _, s := range m.slots {
		if n, err := m.sys.queued(s.index); err == nil && n > 0 {
			return true
		}
	}
	return false
}

// note remembers a worker that did not stop as it should, while the master stops.
func (m *master) note(w *worker, e exit) {
	clean := e.code == 0 && w.reason == ""
	if !m.stopping || clean || w.ready.IsZero() { // one that never served cannot lose anything
		return
	}
	how := w.reason
	switch {
	case how != "":
		how += " and was killed"
	case e.signal != 0:
		how = "ended by signal: " + e.signal.String()
	default:
		how = fmt.Sprintf("ended with exit code %d", e.code)
	}
	m.unclean = append(m.unclean, fmt.Errorf("prefork: worker %d (process %d) %s while stopping", w.slot.index, w.proc.pid, how))
}

func (m *master) result() error {
	if m.fatal != nil || m.quick {
		return m.fatal
	}
	return errors.Join(m.unclean...)
}
