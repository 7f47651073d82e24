package prefork

import (
	"errors"
	"slices"
	"time"
)

// reload makes every worker that runs now one of the past. roll replaces them one at a time.
func (m *master) reload() {
	if m.stopping {
		return
	}
	command, err := m.newCommand()
	if err != nil {
		m.cfg.Log.Error("reload refused: the workers stay as they are", "error", err)
		return
	}
	m.renew(command, m.workers()...)
	m.cfg.Log.Info("reloading the workers one by one", "generation", m.generation)
}

// renew makes these workers some of the past.
func (m *master) renew(command Command, workers ...*worker) {
	if !m.reloading {
		m.fallback = m.command
	}
	m.command, m.reloading = command, true
	m.generation++
	for _, w := range workers {
		w.past = true
	}
}

// roll replaces workers that are of the past or that asked for it. It replaces one at a time, from the start of the new
// one to the end of the old one, so there is never more than one worker too many.
func (m *master) roll(now time.Time) {
	if len(m.slots) > m.wanted || (m.upgrade != nil && m.upgrade.phase == upgradeRehearsing) {
		return // the connections of one worker more are in use
	}
	for _, s := range m.slots {
		if s.next != nil || s.old != nil || (m.reloading && s.isNewcomer()) {
			return
		}
	}
	for _, s := range m.slots[:min(m.wanted, len(m.slots))] {
		if w := s.worker; w != nil && w.state == Serving && m.isDue(w, now) {
			m.cfg.Log.Info("replacing worker", "slot", s.index, "worker_pid", w.proc.pid, "requests", w.requests, "reload", w.past)
			s.next = m.start(s, now)
			return
		}
	}
	// One that took the place of a worker that died has to serve, too.
	if m.reloading && m.roster().Ready() && !slices.ContainsFunc(m.workers(), func(w *worker) bool { return w.past }) {
		m.reloading, m.spoilt = false, false
		m.cfg.Log.Info("all workers are reloaded", "generation", m.generation)
		if m.afterReload > 0 {
			m.want(m.afterReload)
			m.afterReload = 0
			m.wakeAt(now)
		}
	}
}

// isNewcomer says whether the slot's worker is a replacement that has yet to show that it can serve: whom it was to replace
// has died.
func (s *slot) isNewcomer() bool {
	return s.worker != nil && s.worker.state == Starting && !s.worker.past
}

// isDue says whether a worker is to be replaced now.
func (m *master) isDue(w *worker, now time.Time) bool {
	if w.recycle && !w.past && now.Before(w.slot.recycleAt) {
		m.wakeAt(w.slot.recycleAt)
		return false
	}
	return w.past || w.recycle
}

// takeOver lets the replacement, which serves by now, follow the worker, which leaves.
func (m *master) takeOver(s *slot, now time.Time) {
	s.worker, s.next, s.old = s.next, nil, s.worker
	m.dismiss(s.old, now.Add(m.cfg.StopTimeout))
}

// replacementFailed keeps the worker that was to be replaced. A failed reload is over; one for recycling is tried again.
func (m *master) replacementFailed(w *worker, e exit, now time.Time) {
	if !w.slot.worker.past || w.past {
		w.slot.recycleAt = now.Add(m.cfg.BackoffMax)
		m.cfg.Log.Error("the replacement did not get ready: the worker goes on", "slot", w.slot.index, "code", e.code, "reason", w.reason,
			"again_in", m.cfg.BackoffMax)
		return
	}
	m.abandonReload(w, e)
}

// abandonReload goes back to the command of before, because a new worker failed.
func (m *master) abandonReload(w *worker, e exit) {
	m.cfg.Log.Error("reload abandoned: the new worker did not get ready, the other workers stay as they are",
		"slot", w.slot.index, "code", e.code, "reason", w.reason)
	m.reloading, m.spoilt, m.command, m.afterReload = false, true, m.fallback, 0
	for _, other := range m.workers() {
		other.past = false
	}
	m.abandon(errors.New("a worker of the new program did not get ready"))
}
