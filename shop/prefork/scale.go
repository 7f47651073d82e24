package prefork

import (
	"fmt"
	"time"
)

// Scaling lets the number of workers follow the load, one worker at a time, between Min and Config.MaxWorkers. The load is
// the mean of what the workers say of themselves (Worker.MeasureBusy). Up and Down are apart so that one decision does not
// cause the opposite one. The zero value is off.
type Scaling struct {
	Min       int           // the fewest workers; 0: the number stays as it is
	Up        float64       // one more when the workers are busy for this share of the time, for UpAfter; 0.8
	Down      float64       // one fewer when the others would then be busy for less than this share, for DownAfter; 0.5
	UpAfter   time.Duration // 3 s
	DownAfter time.Duration // 30 s
}

func (s *Scaling) setDefaults() {
	setDefault(&s.Up, 0.8)
	setDefault(&s.Down, 0.5)
	setDefault(&s.UpAfter, 3*time.Second)
	setDefault(&s.DownAfter, 30*time.Second)
}

// tendency is a direction that the load points to, and since when.
type tendency struct {
	step  int // +1, -1 or 0
	since time.Time
}

// scale decides whether there are to be more workers or fewer. While workers come and go the load says nothing.
func (m *master) scale(now time.Time) {
	s := m.cfg.Scaling
	if s.Min == 0 {
		return
	}
	busy, steady := m.busy()
	step := 0
	if steady {
		step = m.step(busy)
	}
	if step == 0 || step != m.tendency.step {
		m.tendency = tendency{step, now}
	}
	if step == 0 {
		return
	}
	after := s.UpAfter
	if step < 0 {
		after = s.DownAfter
	}
	if due := m.tendency.since.Add(after); now.Before(due) {
		m.wakeAt(due)
		return
	}
	m.cfg.Log.Info("scaling", "reason", fmt.Sprintf("the workers have been busy for %.0f %% of the time, for %v", 100*busy, after))
	m.tendency = tendency{}
	m.want(m.wanted + step)
}

// step says where the load points to.
func (m *master) step(busy float64) int {
	n := float64(m.wanted)
	switch {
	case busy >= m.cfg.Scaling.Up && m.wanted < m.cfg.MaxWorkers:
		return +1
	case m.wanted > m.cfg.Scaling.Min && busy*n/(n-1) < m.cfg.Scaling.Down:
		return -1
	}
	return 0
}

// busy returns the mean share of the workers' busy time, and whether all of them serve, nobody else is there, and each has
// said something.
func (m *master) busy() (share float64, steady bool) {
	workers := m.workers()
	for _, w := range workers {
		if w.state != Serving || !w.measured {
			return 0, false
		}
		share += w.busy / float64(len(workers))
	}
	return share, len(workers) == m.wanted
}
