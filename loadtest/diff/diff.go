// Package diff says whether what was measured before and after a change differs by more than chance.
//
// For each stage, guard and workload it takes the values of repeated runs and compares them as benchstat does: medians
// with confidence intervals, and the Mann-Whitney U test, which assumes nothing of how the values are distributed
// (golang.org/x/perf/benchmath). It is pure: it reads results and returns rows.
package diff

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"

	"example.com/flashsale/loadtest/report"
)

const (
	// Confidence of the intervals.
	Confidence = 0.95
	// Alpha is below which p a difference is taken to be no chance.
	Alpha = 0.05
	// MinRuns is the smallest number of runs on each side with which p can be below Alpha.
	MinRuns = 4
)

// Row compares one figure of one stage, guard and workload.
type Row struct {
	Name   string // of the runs
	Metric string
	Unit   string
	Broken bool // a guard that is broken here: shown, but never Worse
	Before Side
	After  Side
	P      float64 // of the Mann-Whitney U test
	Delta  float64 // change of the median in percent; infinite from 0
	// Significant says that the difference is more than chance. Worse says that it is also in the wrong direction and
	// beyond the threshold.
	Significant, Worse bool
}

// Side summarises the repeated runs of one side.
type Side struct {
	Median, Low, High float64
	N                 int
	Bounded           bool // N suffices for Low and High to be a confidence interval
}

// Comparison is what Compare found.
type Comparison struct {
	Rows     []Row
	Warnings []string // what a reader must know, in sentences

	few []string // which have too few runs
}

// Worse returns the rows that are.
func (c Comparison) Worse() []Row {
	return slices.DeleteFunc(slices.Clone(c.Rows), func(row Row) bool { return !row.Worse })
}

// metric is a figure of a run.
type metric struct {
	name, unit   string
	higherBetter bool
	informs      bool // shown, but no reason to fail
	of           func(*report.Run) *float64
}

var metrics = []metric{
	{"orders/s", "", true, false, func(run *report.Run) *float64 { return &run.OrdersPerSecond }},
	{"p50", "ms", false, false, func(run *report.Run) *float64 { return run.Latency.P50 }},
	{"p99", "ms", false, false, func(run *report.Run) *float64 { return run.Latency.P99 }},
	{"failed", "%", false, false, failed},
	{"CPU per order", "µs", false, true, func(run *report.Run) *float64 { return run.Resources.CPUUSPerOrder }},
	{"memory", "MiB", false, true, memory},
}

// failed is the share of requests that were no answer of the shop.
func failed(run *report.Run) *float64 {
	if run.Requests == 0 {
		return nil
	}
	return new(100 * float64(run.Failed+run.Unknown) / float64(run.Requests))
}

func memory(run *report.Run) *float64 {
	if run.Resources.PSSBytesMax == nil {
		return nil
	}
	return new(float64(*run.Resources.PSSBytesMax) / (1 << 20))
}

// Compare compares the runs of two sides. A figure is worse when it changed for the worse by more than threshold percent
// (0 or more) and not by chance. Runs of stages or guards that only one side has are left out, with a warning.
func Compare(before, after []*report.Result, threshold float64) Comparison {
	var c Comparison
	old, now := group(before), group(after)
	for _, key := range old.keys {
		if now.runs[key] == nil {
			c.warn("%s was not measured after the change.", old.runs[key][0].Name())
			continue
		}
		c.compare(old.runs[key], now.runs[key], threshold)
	}
	for _, key := range now.keys {
		if old.runs[key] == nil {
			c.warn("%s was not measured before the change.", now.runs[key][0].Name())
		}
	}
	c.warnOfFew()
	c.warnOfSides("before", before)
	c.warnOfSides("after", after)
	if len(before) > 0 && len(after) > 0 && !sameMachine(before[0], after[0]) {
		c.warn("The two sides were measured on different machines: what differs need not be the change.")
	}
	return c
}

// sameMachine compares what decides the speed.
func sameMachine(a, b *report.Result) bool {
	return a.Machine.CPUs == b.Machine.CPUs && a.Machine.CPUModel == b.Machine.CPUModel && a.Machine.OS == b.Machine.OS
}

func (c *Comparison) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

// warnOfFew says once that there are too few runs, however many rows that concerns.
func (c *Comparison) warnOfFew() {
	if len(c.few) == 0 {
		return
	}
	more := ""
	if n := len(c.few) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more of these)", n)
	}
	c.warn("%s cannot show a difference%s; take at least %d on each side (--repeat).", c.few[0], more, MinRuns)
}

// warnOfSides says what is wrong with the runs of one side.
func (c *Comparison) warnOfSides(side string, results []*report.Result) {
	for _, r := range results {
		if j := report.Judge(r); !j.OK {
			c.warn("A result of the side %s is not good by itself: %s", side, j.Headline)
		}
	}
}

// key tells runs that can be compared.
type key struct {
	target, stage, guard, workload string
	open                           bool // the open model
}

// groups are runs by key, the keys in order of first appearance.
type groups struct {
	keys []key
	runs map[key][]*report.Run
}

func group(results []*report.Result) groups {
	g := groups{runs: map[key][]*report.Run{}}
	for _, r := range results {
		for i := range r.Runs {
			run := &r.Runs[i]
			k := key{stage: string(run.Stage), guard: string(run.Guard), workload: run.Workload, open: run.Settings.RatePerSecond != nil}
			if k.stage == "" {
				k.target = run.Target // a foreign service has no other name
			}
			if g.runs[k] == nil {
				g.keys = append(g.keys, k)
			}
			if run.VoidReason == "" { // void figures say nothing
				g.runs[k] = append(g.runs[k], run)
			}
		}
	}
	g.keys = slices.DeleteFunc(g.keys, func(k key) bool { return len(g.runs[k]) == 0 })
	return g
}

func (c *Comparison) compare(before, after []*report.Run, threshold float64) {
	if d := differentSettings(before[0], after[0]); d != "" {
		c.warn("%s: the settings differ (%s), so that more than the change was changed.", before[0].Name(), d)
	}
	if min(len(before), len(after)) < MinRuns {
		c.few = append(c.few, fmt.Sprintf("%s: %d and %d runs", before[0].Name(), len(before), len(after)))
	}
	for _, m := range metrics {
		if a, b := len(m.values(before)), len(m.values(after)); a+b > 0 && a+b < len(before)+len(after) {
			// Only the faster runs have enough orders for a p99: to compare these alone would be no fair comparison.
			c.warn("%s: %s is left out, because not every run has enough orders for it; a longer --duration helps.", before[0].Name(), m.name)
			continue
		}
		if row, ok := m.compare(before, after, threshold); ok {
			c.Rows = append(c.Rows, row)
		}
	}
}

func (m metric) values(runs []*report.Run) []float64 {
	var values []float64
	for _, run := range runs {
		if v := m.of(run); v != nil {
			values = append(values, *v)
		}
	}
	return values
}

// compare makes the row of a figure. There is none where a side does not know it, or where it is 0 everywhere.
func (m metric) compare(before, after []*report.Run, threshold float64) (Row, bool) {
	old, now := m.values(before), m.values(after)
	if len(old) == 0 || len(now) == 0 || slices.Max(old) == 0 && slices.Max(now) == 0 {
		return Row{}, false
	}
	limits := benchmath.Thresholds{CompareAlpha: Alpha}
	a, b := benchmath.NewSample(old, &limits), benchmath.NewSample(now, &limits)
	test := benchmath.AssumeNothing.Compare(a, b)
	row := Row{
		Name: before[0].Name(), Metric: m.name, Unit: m.unit, Broken: before[0].Expected == report.Broken,
		Before: summarize(a), After: summarize(b), P: test.P, Significant: test.P < Alpha,
	}
	row.Delta = change(row.Before.Median, row.After.Median)
	bad := row.Delta
	if m.higherBetter {
		bad = -row.Delta
	}
	row.Worse = row.Significant && !row.Broken && !m.informs && bad > threshold
	return row, true
}

func summarize(s *benchmath.Sample) Side {
	summary := benchmath.AssumeNothing.Summary(s, Confidence)
	return Side{
		Median: summary.Center, Low: summary.Lo, High: summary.Hi, N: len(s.Values),
		Bounded: len(summary.Warnings) == 0 && !math.IsInf(summary.Lo, 0) && !math.IsInf(summary.Hi, 0),
	}
}

// change is that of a value in percent.
func change(from, to float64) float64 {
	if from == to {
		return 0
	}
	if from == 0 {
		return math.Inf(1)
	}
	return 100 * (to - from) / from
}

// differentSettings names the settings of the workload and the stage that differ.
func differentSettings(a, b *report.Run) string {
	s, t := a.Settings, b.Settings
	for _, d := range []struct {
		name     string
		from, to any
	}{
		{"users", s.Users, t.Users},
		{"products", s.Products, t.Products},
		{"skew", s.Skew, t.Skew},
		{"duration", s.DurationSeconds, t.DurationSeconds},
		{"stock", value(s.Stock), value(t.Stock)},
		{"rate", value(s.RatePerSecond), value(t.RatePerSecond)},
		{"user latency", value(s.UserLatencyMS), value(t.UserLatencyMS)},
		{"processes", value(s.Processes), value(t.Processes)},
		{"workers", value(s.Workers), value(t.Workers)},
		{"database connections", value(s.DBConns), value(t.DBConns)},
	} {
		if d.from != d.to {
			return fmt.Sprintf("%s: %v, then %v", d.name, d.from, d.to)
		}
	}
	return ""
}

// value is what p points to, or "unknown".
func value[T any](p *T) any {
	if p == nil {
		return "unknown"
	}
	return *p
}
