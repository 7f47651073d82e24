package prefork

import (
	"context"
	"slices"
	"time"
)

// want changes the number of workers.
func (m *master) want(n int) {
	if m.stopping {
		return
	}
	if n < 1 || n > m.cfg.MaxWorkers {
		m.cfg.Log.Warn("the number of workers stays", "workers", m.wanted, "least", 1, "most", m.cfg.MaxWorkers)
		return
	}
	m.cfg.Log.Info("the number of workers changes", "from", m.wanted, "to", n)
	m.wanted, m.changed = n, true
}

// Handshakes that were under way when new connections were turned away need a moment to reach the accept queue.
const (
	stopSettle = 50 * time.Millisecond  // before a stop
	slotSettle = 250 * time.Millisecond // before a slot is given up, where nobody waits for it
)

// drainPoll is how often a queue that drains is looked at.
const drainPoll = 5 * time.Millisecond

// resize adds slots, or gives them up from the highest on.
func (m *master) resize(now time.Time) {
	for len(m.slots) < m.wanted {
		if err := m.addSlot(context.Background()); err != nil {
			m.cfg.Log.Error("no more workers", "error", err)
			m.wanted = len(m.slots)
			return
		}
		m.slots[len(m.slots)-1].fresh = true
	}
	for _, s := range m.slots {
		if s.index < m.wanted {
			s.drainUntil = time.Time{}
			continue
		}
		m.surrender(s, now)
	}
	for last := len(m.slots) - 1; last >= m.wanted && len(m.slots[last].workers()) == 0; last-- {
		m.closeSlot(m.slots[last])
	}
}

// surrender lets the workers of a slot go, once its accept queue is empty: closing the socket would reset what waits
// there. steer keeps new connections away meanwhile.
func (m *master) surrender(s *slot, now time.Time) {
	if s.drainUntil.IsZero() {
		s.drainSettle, s.drainUntil = now.Add(slotSettle), now.Add(m.cfg.DrainTimeout)
	}
	if s.worker != nil && s.worker.state == Serving && now.Before(s.drainUntil) && m.isDraining(s, now) {
		m.wakeAt(now.Add(drainPoll))
		return
	}
	for _, w := range s.workers() {
		m.dismiss(w, now.Add(m.cfg.StopTimeout))
	}
}

func (m *master) isDraining(s *slot, now time.Time) bool {
	if m.cfg.Mode == Shared {
		return false // the other workers take what waits
	}
	n, err := m.sys.queued(s.index)
	return now.Before(s.drainSettle) || (err == nil && n > 0)
}

// closeSlot ends the highest slot.
func (m *master) closeSlot(s *slot) {
	if m.cfg.Mode == ReusePort {
		if n, err := m.sys.queued(s.index); err == nil && n > 0 {
			m.cfg.Log.Warn("connections are lost with the slot", "slot", s.index, "connections", n)
		}
	}
	m.sys.remove()
	m.slots = m.slots[:s.index]
	m.cfg.Log.Info("slot given up", "slot", s.index)
}

// steer keeps new connections away from slots that are given up, that are new and have no worker yet, whose worker does
// not come up, or whose worker is hung. While a crashed worker is restarted its connections wait: that takes no longer
// than its start.
func (m *master) steer(time.Time) {
	var open []int
	for _, s := range m.slots {
		if s.index < m.wanted && s.failures == 0 && !s.fresh && !s.isStuck() {
			open = append(open, s.index)
		}
	}
	if len(open) == len(m.slots) || len(open) == 0 {
		open = nil
	}
	if slices.Equal(open, m.steered) {
		return
	}
	m.steered = open
	if err := m.sys.steer(open); err != nil {
		m.cfg.Log.Warn("new connections cannot be steered", "error", err)
	}
}

// isStuck says whether the slot's worker is on its way out because it did not answer.
func (s *slot) isStuck() bool {
	return s.worker != nil && (s.worker.state == Hung || s.worker.state == Killed)
}

// publish tells the workers and the caller what has changed. Request counts alone go out once per heartbeat.
func (m *master) publish(now time.Time) {
	if !m.changed && m.counted && now.Before(m.nextCounts) {
		m.wakeAt(m.nextCounts)
		return
	}
	if !m.changed && !m.counted {
		return
	}
	changed := m.changed
	m.changed, m.counted = false, false
	m.nextCounts = now.Add(m.cfg.beatInterval())
	m.noteReady()
	roster := m.roster()
	for _, w := range m.workers() {
		w.proc.tell(roster)
	}
	if changed {
		m.cfg.OnChange(roster)
	}
}

// noteReady logs when all workers serve, and when they serve again.
func (m *master) noteReady() {
	ready := m.roster().Ready()
	if ready && !m.allReady {
		m.started = true
		m.cfg.Log.Info("ready: all workers serve", "workers", m.wanted)
	}
	m.allReady = ready
}

func (m *master) roster() Roster {
	r := Roster{MasterPID: m.sys.masterPID, Addr: m.sys.addr(), Wanted: m.wanted, Started: m.started, Upgrades: m.upgrades}
	for _, w := range m.workers() {
		r.Workers = append(r.Workers, Member{
			Slot: w.slot.index, PID: w.proc.pid, State: w.state, Started: w.started, Ready: w.ready,
			Requests: w.requests, Generation: w.generation,
		})
	}
	return r
}
