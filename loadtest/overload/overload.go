// Package overload says how a service came through a spike: what it still did while far more was asked of it than it can
// do, what it turned away, and how long it took until it was as before.
//
//	        │▔▔▔▔▔▔▔│                     rate at which orders are due
//	────────┘       └──────────────────
//	 before   spike   after: is the second that begins here as good as those before? and the one 100 ms later? …
//
// Orders belong to the moment when they were due, because that is when their buyers came. Goodput alone counts answers where
// they came: what is answered after the spike was not done in it.
//
// Everything is a pure function of the outcomes.
package overload

import (
	"iter"
	"net/http"
	"slices"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/report"
)

const (
	// window is how long a stretch is judged: p99 needs some orders.
	window = time.Second
	// step is how far the next window is: the resolution of the recovery time.
	step = 100 * time.Millisecond
	// slack is by which factor the p99 of a window may be above the worst one before the spike: two good seconds are never
	// exactly alike.
	slack = 1.1
)

// Span says when the parts of a run were, since its start.
type Span struct {
	Measured time.Duration // end of the warm-up
	From, To time.Duration // of the spike
	End      time.Duration // of the schedule
}

// Measure returns the figures of a spike from all outcomes of a run and from when the orders were due that were never sent.
// An order is good when it was accepted within patience of being due.
func Measure(span Span, outcomes iter.Seq[attack.Outcome], drops iter.Seq[time.Duration], patience time.Duration) report.Overload {
	seconds := (span.To - span.From).Seconds()
	figures := report.Overload{FromSeconds: span.From.Seconds(), Seconds: seconds}
	before, after := newBins(span.Measured, span.From), newBins(span.To, span.End)
	var inSpike bin
	var good, goodBefore int64
	for o := range outcomes {
		due, fine := o.DueAt(), o.Class == attack.Accepted && o.Response() <= patience
		if ended := o.EndedAt(); fine && ended >= span.From && ended < span.To {
			good++
		} else if fine && ended >= span.Measured && ended < span.From {
			goodBefore++
		}
		switch {
		case due >= span.From && due < span.To:
			count(&figures, o, fine)
			inSpike.add(o.Response(), fine)
		default:
			before.add(due, o.Response(), fine)
			after.add(due, o.Response(), fine)
		}
	}
	for due := range drops {
		if due >= span.From && due < span.To {
			figures.Due++
			figures.Dropped++
		}
		before.add(due, 0, false)
		after.add(due, 0, false)
	}
	figures.GoodputPerSecond = float64(good) / seconds
	if length := (span.From - span.Measured).Seconds(); length > 0 {
		figures.GoodputBeforePerSecond = float64(goodBefore) / length
	}
	if figures.Due > 0 {
		figures.OverloadedShare = float64(figures.Overloaded) / float64(figures.Due)
	}
	figures.P99MS = inSpike.p99()
	recovery(&figures, before, after)
	return figures
}

// count adds an order that was due in the spike.
func count(f *report.Overload, o attack.Outcome, fine bool) {
	f.Due++
	switch {
	case fine:
		f.Accepted++
	case o.Status == http.StatusServiceUnavailable:
		f.Overloaded++
	default:
		f.Other++
	}
}

// recovery compares what came after with what was before.
func recovery(f *report.Overload, before, after *bins) {
	normal, known := before.worst()
	if !known {
		return
	}
	f.BeforeP99MS, f.BeforeFailedShare = new(normal.p99MS), new(normal.failed)
	if after.windows() == 0 {
		return
	}
	f.Recovered = new(false)
	for i := range after.windows() {
		level, known := after.level(i)
		if known && level.failed <= normal.failed && level.p99MS <= slack*normal.p99MS {
			f.Recovered, f.RecoveryMS = new(true), new(float64((time.Duration(i) * step).Milliseconds()))
			return
		}
	}
}

// bin is what was due in one step.
type bin struct {
	due, failed int64
	responseUS  []uint32 // of those that were good
}

func (b *bin) add(response time.Duration, fine bool) {
	b.due++
	if fine {
		b.responseUS = append(b.responseUS, uint32(response.Microseconds())) // at most the patience: it fits
	} else {
		b.failed++
	}
}

// p99 returns the nearest rank in milliseconds, or nil where nothing was good. Of fewer than 100 it is the maximum.
func (b *bin) p99() *float64 {
	n := len(b.responseUS)
	if n == 0 {
		return nil
	}
	slices.Sort(b.responseUS)
	return new(float64(b.responseUS[min(99*n/100, n-1)]) / 1000)
}

// bins cut a part of a run into steps.
type bins struct {
	from  time.Duration
	steps []bin // a rest that is shorter than a step is left out
}

func newBins(from, to time.Duration) *bins {
	return &bins{from: from, steps: make([]bin, max(to-from, 0)/step)}
}

// add counts an order if it was due in this part.
func (b *bins) add(due, response time.Duration, fine bool) {
	if i := int((due - b.from) / step); due >= b.from && i < len(b.steps) {
		b.steps[i].add(response, fine)
	}
}

// windows returns how many windows lie wholly in this part.
func (b *bins) windows() int { return max(len(b.steps)-int(window/step)+1, 0) }

// level is how good a window was.
type level struct {
	p99MS  float64
	failed float64 // share of the orders that were due
}

// level returns that of the window which begins at a step. It is unknown where nothing was due, or nothing good.
func (b *bins) level(i int) (l level, known bool) {
	var all bin
	for _, s := range b.steps[i : i+int(window/step)] {
		all.due += s.due
		all.failed += s.failed
		all.responseUS = append(all.responseUS, s.responseUS...)
	}
	p99 := all.p99()
	if p99 == nil {
		return level{}, false
	}
	return level{*p99, float64(all.failed) / float64(all.due)}, true
}

// worst returns the highest figures of all windows.
func (b *bins) worst() (worst level, known bool) {
	for i := range b.windows() {
		if l, ok := b.level(i); ok {
			worst, known = level{max(worst.p99MS, l.p99MS), max(worst.failed, l.failed)}, true
		}
	}
	return worst, known
}
