package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"example.com/flashsale/loadtest/audit"
)

// Threshold is what a run must meet, as in "p99<50ms".
type Threshold struct {
	Text   string // as it was given
	Metric string
	Op     string  // <, <=, >, >=
	Limit  float64 // milliseconds, percent, or per second
}

// unit is what a limit is given in.
type unit uint8

const (
	duration  unit = iota // as in 50ms
	share                 // as in 0.1%
	perSecond             // as in 1000
	amount                // as in 1000, of nothing in particular
)

// metric is something that a threshold may limit. of returns the value of a T, or false where it is not known.
type metric[T any] struct {
	name string
	unit unit
	of   func(*T) (float64, bool)
}

// Subject is what a threshold is about.
type Subject uint8

// The subjects. A capacity and a search for it are about runs too.
const (
	OfRuns Subject = iota
	OfCapacities
	OfCeilings
	OfFaults
)

// named are the metrics of each subject, by name and unit.
var named = map[Subject][]metric[struct{}]{
	OfRuns: names(runMetrics), OfCapacities: names(capacityMetrics), OfCeilings: names(ceilingMetrics), OfFaults: names(faultMetrics),
}

func names[T any](metrics []metric[T]) []metric[struct{}] {
	var out []metric[struct{}]
	for _, m := range metrics {
		out = append(out, metric[struct{}]{name: m.name, unit: m.unit})
	}
	return out
}

var runMetrics = []metric[Run]{
	{"p50", duration, latencyOf(func(l *Latency) *float64 { return l.P50 })},
	{"p90", duration, latencyOf(func(l *Latency) *float64 { return l.P90 })},
	{"p99", duration, latencyOf(func(l *Latency) *float64 { return l.P99 })},
	{"p99.9", duration, latencyOf(func(l *Latency) *float64 { return l.P999 })},
	{"mean", duration, latencyOf(func(l *Latency) *float64 { return l.Mean })},
	{"max", duration, latencyOf(func(l *Latency) *float64 { return l.Max })},
	{"accepted", share, shareOf(func(run *Run) int64 { return run.Accepted })},
	{"replayed", share, shareOf(func(run *Run) int64 { return run.Replayed })},
	{"rejected", share, shareOf(func(run *Run) int64 { return run.Rejected })},
	{"failed", share, shareOf(func(run *Run) int64 { return run.Failed })},
	{"unknown", share, shareOf(func(run *Run) int64 { return run.Unknown })},
	{"dropped", share, droppedShare},
	{"orders_per_second", perSecond, func(run *Run) (float64, bool) { return run.OrdersPerSecond, true }},
	{"qps", perSecond, func(run *Run) (float64, bool) { return run.QPS, true }},
}

var capacityMetrics = []metric[Capacity]{
	{"rate_per_second", perSecond, func(c *Capacity) (float64, bool) { return c.RatePerSecond, true }},
	{"supported_daily_users", amount, func(c *Capacity) (float64, bool) { return float64(c.SupportedDailyUsers), true }},
}

var ceilingMetrics = []metric[Ceilings]{medianCeiling(httpNoop), medianCeiling(hotRowSingle), medianCeiling(hotRowTransaction), medianCeiling(hotRowBatch)}

func medianCeiling(name string) metric[Ceilings] {
	return metric[Ceilings]{name, perSecond, func(c *Ceilings) (float64, bool) {
		if sample := c.byName(name); sample != nil {
			return sample.Median, true
		}
		return 0, false
	}}
}

// Recovery is the metric of faults that not every fault has.
const Recovery = "recovery"

var faultMetrics = []metric[Fault]{
	{Recovery, duration, func(f *Fault) (float64, bool) {
		if f.RecoveryMS == nil {
			return 0, false
		}
		return *f.RecoveryMS, true
	}},
	{"longest_wait", duration, func(f *Fault) (float64, bool) { return f.LongestWaitMS, true }},
	{"longest_gap", duration, func(f *Fault) (float64, bool) { return f.LongestGapMS, true }},
	{"failed", share, faultShare(func(f *Fault) int64 { return f.Failed })},
	{"unknown", share, faultShare(func(f *Fault) int64 { return f.Unknown })},
	{"retried", share, faultShare(func(f *Fault) int64 { return f.Retried })},
	{"load_per_second", perSecond, func(f *Fault) (float64, bool) { return f.LoadPerSecond, true }},
}

func faultShare(n func(*Fault) int64) func(*Fault) (float64, bool) {
	return func(f *Fault) (float64, bool) {
		if f.Requests == 0 {
			return 0, false
		}
		return 100 * float64(n(f)) / float64(f.Requests), true
	}
}

func latencyOf(figure func(*Latency) *float64) func(*Run) (float64, bool) {
	return func(run *Run) (float64, bool) {
		if v := figure(&run.Latency); v != nil {
			return *v, true
		}
		return 0, false
	}
}

func shareOf(n func(*Run) int64) func(*Run) (float64, bool) {
	return func(run *Run) (float64, bool) {
		if run.Requests == 0 {
			return 0, false
		}
		return 100 * float64(n(run)) / float64(run.Requests), true
	}
}

// droppedShare is that of all orders that were due.
func droppedShare(run *Run) (float64, bool) {
	if run.Dropped == nil || run.Requests+*run.Dropped == 0 {
		return 0, false
	}
	return 100 * float64(*run.Dropped) / float64(run.Requests+*run.Dropped), true
}

// ParseThreshold reads a threshold such as "p99<50ms", "failed<0.1%" or "orders_per_second>1000" about one of the subjects;
// none means runs. The error says in one sentence what is wrong and what there is.
func ParseThreshold(text string, subjects ...Subject) (Threshold, error) {
	t := Threshold{Text: strings.ReplaceAll(text, " ", "")}
	at := strings.IndexAny(t.Text, "<>")
	if at < 0 {
		return t, fmt.Errorf("threshold %q has no < or >: write it as in p99<50ms", text)
	}
	t.Metric, t.Op = t.Text[:at], t.Text[at:at+1]
	limit := t.Text[at+1:]
	if rest, ok := strings.CutPrefix(limit, "="); ok {
		t.Op, limit = t.Op+"=", rest
	}
	unit, err := unitOf(t.Metric, subjects)
	if err != nil {
		return t, fmt.Errorf("threshold %q: %w", text, err)
	}
	if t.Limit, err = unit.parse(limit); err != nil {
		return t, fmt.Errorf("threshold %q: %q is no limit of %s: %w", text, limit, t.Metric, err)
	}
	return t, nil
}

func unitOf(name string, subjects []Subject) (unit, error) {
	if len(subjects) == 0 {
		subjects = []Subject{OfRuns}
	}
	var names []string
	for _, subject := range subjects {
		for _, m := range named[subject] {
			if m.name == name {
				return m.unit, nil
			}
			names = append(names, m.name)
		}
	}
	return 0, fmt.Errorf("there is no %q: use %s", name, list(names, "or"))
}

// about says whether the threshold limits one of the metrics.
func about[T any](t Threshold, metrics []metric[T]) bool {
	return slices.ContainsFunc(metrics, func(m metric[T]) bool { return m.name == t.Metric })
}

// limits says whether any threshold of a result limits one of the metrics.
func limits[T any](r *Result, metrics []metric[T]) bool {
	return slices.ContainsFunc(r.thresholds(), func(t Threshold) bool { return about(t, metrics) })
}

// parse reads a limit. It must not be negative.
func (u unit) parse(text string) (float64, error) {
	var value float64
	var err error
	hint := "write a number, as in 1000"
	switch u {
	case duration:
		hint = "write a duration with its unit, as in 50ms"
		var d time.Duration
		d, err = time.ParseDuration(text)
		value = float64(d) / float64(time.Millisecond)
		if text == "0" {
			err = fmt.Errorf("no unit")
		}
	case share:
		hint = "write a percentage, as in 0.1%"
		number, ok := strings.CutSuffix(text, "%")
		if value, err = strconv.ParseFloat(number, 64); !ok || value > 100 {
			err = fmt.Errorf("no percentage")
		}
	case perSecond, amount:
		value, err = strconv.ParseFloat(text, 64)
	}
	if err != nil || !(value >= 0) || value > 1e15 { // NaN is not >= 0
		return 0, fmt.Errorf("%s", hint)
	}
	return value, nil
}

// text writes a value of this unit.
func (u unit) text(v float64) string {
	switch u {
	case duration:
		return millis(&v) + " ms"
	case share:
		return strconv.FormatFloat(v, 'g', 3, 64) + "%"
	case amount:
		return humanize.Comma(int64(v))
	default:
		return rate(v) + " per second"
	}
}

// met says whether v meets the threshold.
func (t Threshold) met(v float64) bool {
	switch t.Op {
	case "<":
		return v < t.Limit
	case "<=":
		return v <= t.Limit
	case ">":
		return v > t.Limit
	default:
		return v >= t.Limit
	}
}

// missed returns in one sentence how item misses the threshold, or "". What is not known is missed: too few orders for a
// p99 are no proof of a good one. A threshold about another subject is not missed, and one about nothing is.
func missed[T any](t Threshold, metrics []metric[T], item *T) string {
	i := slices.IndexFunc(metrics, func(m metric[T]) bool { return m.name == t.Metric })
	if i < 0 {
		if _, err := unitOf(t.Metric, everySubject); err != nil {
			return err.Error()
		}
		return ""
	}
	switch v, known := metrics[i].of(item); {
	case !known:
		return fmt.Sprintf("%s is not known, so %s is missed; a longer run would tell", t.Metric, t.Text)
	case !t.met(v):
		return fmt.Sprintf("%s is %s, so %s is missed", t.Metric, metrics[i].unit.text(v), t.Text)
	}
	return ""
}

var everySubject = []Subject{OfRuns, OfCapacities, OfCeilings, OfFaults}

// thresholds reads those of a result. One that cannot be read limits nothing that there is, and so is missed.
func (r *Result) thresholds() []Threshold {
	var out []Threshold
	for _, text := range r.Thresholds {
		t, _ := ParseThreshold(text, everySubject...)
		out = append(out, t)
	}
	return out
}

// judgedByThresholds says whether thresholds apply to a run: not to a guard that is broken, whose rate is not that of a
// working shop; and to a flash sale only where nothing was sustained, for it is short and has few orders.
func (r *Result) judgedByThresholds(run *Run) bool {
	return !run.broken() && (run.Workload != FlashSale || !hasWorkload(r, Sustained))
}

// missedBy returns how a run misses the thresholds of its result.
func (r *Result) missedBy(run *Run) []string {
	if !r.judgedByThresholds(run) {
		return nil
	}
	var out []string
	for _, t := range r.thresholds() {
		if s := missed(t, runMetrics, run); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// noRunJudged is said where there are thresholds for runs, and no run that they apply to.
const noRunJudged = "Threshold: no run could be judged: all guards are broken here."

// missedThresholds returns a sentence for each run, capacity and ceiling that misses one, and for each that it misses.
func missedThresholds(r *Result) []string {
	var out []string
	judged := false
	for i := range r.Runs {
		run := &r.Runs[i]
		judged = judged || r.judgedByThresholds(run)
		for _, s := range r.missedBy(run) {
			out = append(out, fmt.Sprintf("Threshold: %s: %s.", run.Name(), s))
		}
	}
	if limits(r, runMetrics) && !judged && len(r.Runs) > 0 {
		out = append(out, noRunJudged)
	}
	for i := range r.Capacities {
		for _, s := range missedOf(r, capacityMetrics, &r.Capacities[i]) {
			out = append(out, fmt.Sprintf("Threshold: %s: %s.", r.Capacities[i].place(), s))
		}
	}
	for _, s := range missedOf(r, ceilingMetrics, &r.Ceilings) {
		out = append(out, fmt.Sprintf("Threshold: %s.", s))
	}
	return out
}

// missedOf returns how item misses those thresholds of a result that are about these metrics.
func missedOf[T any](r *Result, metrics []metric[T], item *T) []string {
	var out []string
	for _, t := range r.thresholds() {
		if s := missed(t, metrics, item); s != "" && about(t, metrics) {
			out = append(out, s)
		}
	}
	return out
}

// JudgeThresholds adds to the problems of a fault which of the thresholds it misses. recovers says whether there is anything
// to recover from; if not, a limit of the recovery does not apply.
func (f *Fault) JudgeThresholds(thresholds []string, recovers bool) {
	for _, text := range thresholds {
		t, _ := ParseThreshold(text, OfFaults)
		if t.Metric == Recovery && !recovers {
			continue
		}
		if s := missed(t, faultMetrics, f); s != "" {
			f.Problems = append(f.Problems, "threshold: "+s)
			if f.Verdict == string(audit.OK) {
				f.Verdict = Missed
			}
		}
	}
}
