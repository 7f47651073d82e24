package runner

import (
	"iter"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/report"
)

const (
	step      = time.Second
	fineStep  = 10 * time.Millisecond
	fineUntil = time.Second
	// minCountP99 is how many orders an interval needs for a p99: one of them is above it.
	minCountP99 = 100
)

// grid cuts a run into intervals.
type grid struct {
	fine bool          // the first second in steps of fineStep
	end  time.Duration // of the run
}

// index returns in which interval t is; what is outside of the run belongs to its first or last one.
func (g grid) index(t time.Duration) int {
	t = min(max(t, 0), g.end)
	if g.fine && t < fineUntil {
		return int(t / fineStep)
	}
	if g.fine {
		return int(fineUntil/fineStep) + int((t-fineUntil)/step)
	}
	return int(t / step)
}

func (g grid) len() int { return g.index(g.end) + 1 }

// interval returns where the interval i begins, and how long it is.
func (g grid) interval(i int) (from, length time.Duration) {
	fineSteps := int(fineUntil / fineStep)
	switch {
	case !g.fine:
		from, length = time.Duration(i)*step, step
	case i < fineSteps:
		from, length = time.Duration(i)*fineStep, fineStep
	default:
		from, length = fineUntil+time.Duration(i-fineSteps)*step, step
	}
	return from, min(length, g.end-from)
}

// addSeries derives the time series of a run from its outcomes and samples.
func addSeries(run *report.Run, result *attack.Result, seen samples) {
	g := grid{fine: result.Workload == attack.FlashSale, end: result.Elapsed}
	fillSeries(run, g, result.Outcomes())
	if result.Open != nil { // the closed model drops nothing
		addDropped(run.Series, g, result.Drops())
	}
	addSamples(run.Series, result.Start, g, seen)
}

// fillSeries makes the series and counts the outcomes into it.
func fillSeries(run *report.Run, g grid, outcomes iter.Seq[attack.Outcome]) {
	run.Series = make([]report.Point, g.len())
	run.LatenciesUS = make([][]uint32, g.len())
	for i := range run.Series {
		from, length := g.interval(i)
		run.Series[i].TSeconds, run.Series[i].Seconds = from.Seconds(), length.Seconds()
	}
	addOutcomes(run, g, outcomes)
	for i := range run.Series {
		slices.Sort(run.LatenciesUS[i])
		addLatencies(&run.Series[i], run.LatenciesUS[i])
	}
}

// addOutcomes counts each request where it ended, and the open ones at the end of each interval.
func addOutcomes(run *report.Run, g grid, outcomes iter.Seq[attack.Outcome]) {
	opened := make([]int64, len(run.Series)) // sent minus ended in the interval
	for o := range outcomes {
		i := g.index(o.EndedAt())
		opened[g.index(o.SentAt)]++
		opened[i]--
		p := &run.Series[i]
		switch o.Class {
		case attack.Accepted:
			p.Accepted++
			run.LatenciesUS[i] = append(run.LatenciesUS[i], uint32(min(o.Response().Microseconds(), 1<<32-1)))
		case attack.Replayed:
			p.Replayed++
		case attack.Rejected:
			p.Rejected++
		case attack.Failed:
			p.Failed++
		case attack.Unknown:
			p.Unknown++
		}
	}
	var open int64
	for i := range run.Series {
		open += opened[i]
		run.Series[i].InFlight = open
	}
}

// addDropped counts orders that were not sent where they were due.
func addDropped(series []report.Point, g grid, due iter.Seq[time.Duration]) {
	for i := range series {
		series[i].Dropped = new(int64)
	}
	for at := range due {
		*series[g.index(at)].Dropped++
	}
}

// addLatencies sets the figures of sorted latencies, as far as their number carries them.
func addLatencies(p *report.Point, us []uint32) {
	n := len(us)
	if n == 0 {
		return
	}
	rank := func(q float64) *float64 { // nearest rank
		return new(float64(us[min(int(q*float64(n)), n-1)]) / 1000)
	}
	p.P50MS, p.MaxMS = rank(0.5), rank(1)
	if n >= minCountP99 {
		p.P99MS = rank(0.99)
	}
}

// addSamples puts each sample into the interval in which it was taken. What was seen before the start is left out.
func addSamples(series []report.Point, start time.Time, g grid, seen samples) {
	at := func(t time.Time) *report.Point {
		if t.Before(start) {
			return nil
		}
		return &series[g.index(t.Sub(start))]
	}
	for _, s := range seen.usage {
		if p := at(s.at); p != nil {
			addUsage(p, s)
		}
	}
	for _, s := range seen.activity {
		if p := at(s.at); p != nil {
			p.DBConnections, p.DBLockWaits = new(s.Connections), new(s.LockWaits)
		}
	}
	for _, s := range seen.stock {
		if p := at(s.at); p != nil {
			p.StockLeft = new(s.left)
		}
	}
}

func addUsage(p *report.Point, s usageSample) {
	used := s.used
	p.PSSBytes, p.OSThreads, p.Goroutines = used.PSSBytesMax, used.OSThreadsMax, used.GoroutinesMax
	if used.CPUSeconds != nil {
		p.CPUCores = new(*used.CPUSeconds / s.span.Seconds())
	}
	if used.ContextSwitchesVoluntary != nil && used.ContextSwitchesInvoluntary != nil {
		p.ContextSwitchesPerSecond = new(float64(*used.ContextSwitchesVoluntary+*used.ContextSwitchesInvoluntary) / s.span.Seconds())
	}
}

// curve are the percentiles of a latency distribution that a chart shows.
var curve = []float64{1, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999}

// percentiles reads a histogram of microseconds. A percentile needs ten values beyond it, as everywhere; the last one is
// the maximum.
func percentiles(h *hdrhistogram.Histogram) []report.Percentile {
	n := h.TotalCount()
	if n == 0 {
		return nil
	}
	var out []report.Percentile
	for _, p := range curve {
		if p <= 50 || float64(n)*(100-p)/100 >= 10-1e-6 {
			out = append(out, report.Percentile{Percentile: p, MS: float64(h.ValueAtQuantile(p)) / 1000})
		}
	}
	return append(out, report.Percentile{Percentile: 100, MS: float64(h.ValueAtQuantile(100)) / 1000})
}
