package live

import (
	"slices"
	"time"
)

// plan is what is to be done, and how long it will probably take.
type plan struct {
	steps []time.Duration
	at    int // steps begun
	label string
	since time.Time // of this step
	spent time.Duration
	due   time.Duration // what the steps that are done were expected to take
}

func (p *plan) next(label string, now time.Time) {
	if p.at > 0 {
		p.spent += now.Sub(p.since)
		p.due += p.steps[p.at-1]
	}
	p.at++
	p.label, p.since = label, now
}

func (p *plan) skip() { p.steps = slices.Delete(p.steps, p.at, p.at+1) }

// left is what the rest was expected to take, corrected by how wrong that was so far.
func (p *plan) left(now time.Time) time.Duration {
	var here, later time.Duration
	if p.at > 0 {
		here = max(p.steps[p.at-1]-now.Sub(p.since), 0)
	}
	for _, step := range p.steps[p.at:] {
		later += step
	}
	if p.due > 0 {
		later = time.Duration(float64(later) * min(max(float64(p.spent)/float64(p.due), 0.5), 2))
	}
	return here + later
}
