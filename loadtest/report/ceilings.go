package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The names of the ceilings, as in result.json.
const (
	httpNoop          = "http_noop_per_second"
	hotRowSingle      = "hot_row_single_per_second"
	hotRowTransaction = "hot_row_transaction_per_second"
	hotRowBatch       = "hot_row_batch_per_second"
)

// enoughPairs is from how many pairs on a median means something.
const enoughPairs = 3

// ceilingWords are a ceiling in a few words, and what is measured for it.
var ceilingWords = map[string]struct{ short, what string }{
	httpNoop:          {"HTTP alone", "the stage with guard noop: requests are read and answered, nothing is sold"},
	hotRowSingle:      {"one statement", "one UPDATE + INSERT per order, as guard conditional sends it"},
	hotRowTransaction: {"one transaction", "SELECT … FOR UPDATE, UPDATE, INSERT, COMMIT per order"},
	hotRowBatch:       {"batches of 500", "500 orders in one statement and one commit"},
}

// ceilingTerms explain the tables of ceilings.
var ceilingTerms = []term{
	{"ceiling", "What this machine can do at best for one part of the work, measured right before and after each run. The database's are those of one hot product, without any service in front."},
	{"bounded by", "The lowest of the ceilings that a run with this guard cannot exceed. A broken guard may: it locks the row for a shorter time."},
	{"of it", "Orders per second ÷ the mean of that ceiling before and after the run. Median of the runs; lowest – highest when compared with each reading alone."},
	{"drift", "How far the highest and the lowest reading of that ceiling are apart, as a share of their median: what the machine itself changed meanwhile."},
	{"× one statement", "How many times the rate of one order after another, each in a statement of its own."},
}

// NewSample summarises values, or returns nil when there are none.
func NewSample(values []float64) *Sample {
	if len(values) == 0 {
		return nil
	}
	return &Sample{Median: median(values), Min: slices.Min(values), Max: slices.Max(values), Samples: len(values)}
}

// Mean returns the mean of the ceiling before and after the run, per second.
func (c CeilingRatio) Mean() float64 { return (c.BeforePerSecond + c.AfterPerSecond) / 2 }

// Any says whether any ceiling was measured.
func (c Ceilings) Any() bool { return c != Ceilings{} }

func (c Ceilings) byName(name string) *Sample {
	switch name {
	case httpNoop:
		return c.HTTPNoop
	case hotRowSingle:
		return c.HotRowSingle
	case hotRowTransaction:
		return c.HotRowTransaction
	default:
		return c.HotRowBatch
	}
}

// median of at least one value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// ceilingGrids are the tables of ceilings; none where nothing was measured.
func ceilingGrids(r *Result) []grid {
	return withRows(judgedGrid(r), machineGrid(r))
}

var judgedColumns = []column{
	{Title: "stage"}, {Title: "guard"}, {"runs", true}, {"orders/s", true}, {Title: "bounded by"}, {"ceiling\n/s", true},
	{"of it", true}, {"lowest –\nhighest", true}, {"drift", true}, {"of HTTP\nalone", true}, {"× one\nstatement", true},
}

// judgedGrid has a row for each stage and guard that was compared with ceilings.
func judgedGrid(r *Result) grid {
	g := grid{Title: "Ceilings: how near each stage came to what this machine can do", Columns: judgedColumns}
	var judged []*Run
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Ceiling != nil {
			judged = append(judged, run)
		}
	}
	if len(judged) == 0 {
		return g
	}
	fewest := len(judged)
	for _, runs := range sameGuard(together(judged)) {
		g.Rows = append(g.Rows, judgedRow(r, runs))
		fewest = min(fewest, len(runs))
	}
	g.Settings = "each ceiling was measured before and after each sustained run"
	if fewest < enoughPairs {
		g.Settings += fmt.Sprintf(" · a machine drifts: --repeat %d or more gives a median to rely on", enoughPairs)
	}
	return g
}

// sameGuard cuts runs, which are sorted, into groups of one stage and guard.
func sameGuard(runs []*Run) [][]*Run {
	var groups [][]*Run
	for i, run := range runs {
		if i == 0 || run.place() != runs[i-1].place() || run.Guard != runs[i-1].Guard {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], run)
	}
	return groups
}

func judgedRow(r *Result, runs []*Run) []cell {
	bound := boundOf(runs)
	var rates, ceilings, ratios, low, high []float64
	for _, run := range runs {
		rates = append(rates, run.OrdersPerSecond)
		if c := run.ratioTo(bound); c != nil {
			ceilings = append(ceilings, c.Mean())
			ratios, low, high = append(ratios, c.Ratio), append(low, c.RatioMin), append(high, c.RatioMax)
		}
	}
	return align(judgedColumns, []cell{
		{Text: runs[0].place()}, {Text: name(string(runs[0].Guard))}, {Text: fmt.Sprint(len(runs))},
		{Text: rate(median(rates))}, {Text: ceilingName(bound)}, {Text: rate(median(ceilings))},
		{Text: shareText(median(ratios))}, {Text: shareText(slices.Min(low)) + " – " + shareText(slices.Max(high))},
		{Text: shareText(drift(readings(r, bound, runs[0].Stage)))},
		{Text: medianRatio(runs, httpNoop, shareText)}, {Text: medianRatio(runs, hotRowSingle, factor)},
	})
}

// boundOf returns the ceiling that bounds most of the runs.
func boundOf(runs []*Run) string {
	names := distinct(runs, func(run **Run) string { return (*run).Ceiling.Name })
	count := func(name string) (n int) {
		for _, run := range runs {
			if run.Ceiling.Name == name {
				n++
			}
		}
		return n
	}
	return slices.MaxFunc(names, func(a, b string) int { return count(a) - count(b) })
}

// ratioTo returns how near the run came to the ceiling of that name, or nil.
func (run *Run) ratioTo(name string) *CeilingRatio {
	if i := slices.IndexFunc(run.Ceilings, func(c CeilingRatio) bool { return c.Name == name }); i >= 0 {
		return &run.Ceilings[i]
	}
	if run.Ceiling != nil && run.Ceiling.Name == name {
		return run.Ceiling
	}
	return nil
}

func medianRatio(runs []*Run, name string, form func(float64) string) string {
	var ratios []float64
	for _, run := range runs {
		if c := run.ratioTo(name); c != nil {
			ratios = append(ratios, c.Ratio)
		}
	}
	if len(ratios) == 0 {
		return unknown
	}
	return form(median(ratios))
}

// readings returns what was read of a ceiling in the session. That of HTTP belongs to a stage; the database's to all.
func readings(r *Result, name string, stage Text) []float64 {
	var out []float64
	for i := range r.Runs {
		run := &r.Runs[i]
		if name == httpNoop && run.Stage != stage {
			continue
		}
		if c := run.ratioTo(name); c != nil {
			out = append(out, c.BeforePerSecond, c.AfterPerSecond)
		}
	}
	return out
}

// drift is how far values are apart, as a share of their median.
func drift(values []float64) float64 {
	return (slices.Max(values) - slices.Min(values)) / median(values)
}

var machineColumns = []column{
	{Title: "ceiling"}, {Title: "what is done"}, {"median\n/s", true}, {"min", true}, {"max", true}, {"samples", true}, {"best with\nconnections", true},
}

// machineGrid lists the ceilings, that of HTTP for each stage.
func machineGrid(r *Result) grid {
	g := grid{
		Title:    "Ceilings: what this machine can do at best, per second",
		Settings: "the database's: orders for one hot product, straight through the driver, with as many connections as are fastest",
		Columns:  machineColumns,
	}
	judged := slices.DeleteFunc(slices.Clone(r.Runs), func(run Run) bool { return run.ratioTo(httpNoop) == nil })
	stages := distinct(judged, func(run *Run) string { return string(run.Stage) })
	for _, stage := range stages {
		g.Rows = append(g.Rows, machineRow(httpNoop, " ("+name(stage)+")", NewSample(readings(r, httpNoop, Text(stage)))))
	}
	for _, name := range []string{httpNoop, hotRowSingle, hotRowTransaction, hotRowBatch} {
		if sample := r.Ceilings.byName(name); sample != nil && (name != httpNoop || len(stages) == 0) {
			g.Rows = append(g.Rows, machineRow(name, "", sample))
		}
	}
	return g
}

func machineRow(name, of string, s *Sample) []cell {
	connections := unknown
	if s.Connections != nil {
		connections = fmt.Sprint(*s.Connections)
	}
	return align(machineColumns, []cell{
		{Text: ceilingName(name) + of}, {Text: ceilingWords[name].what},
		{Text: rate(s.Median)}, {Text: rate(s.Min)}, {Text: rate(s.Max)}, {Text: fmt.Sprint(s.Samples)}, {Text: connections},
	})
}

func ceilingName(s string) string {
	if words, ok := ceilingWords[s]; ok {
		return words.short
	}
	return name(s)
}

func shareText(ratio float64) string {
	if ratio < 0.1 {
		return fmt.Sprintf("%.1f%%", 100*ratio)
	}
	return fmt.Sprintf("%.0f%%", 100*ratio)
}

func factor(ratio float64) string { return fmt.Sprintf("%.2f×", ratio) }

// tables are those that a reader sees first: the runs, and how near they came to the ceilings.
func tables(r *Result) []grid {
	return slices.Concat(ruleGrids(r), faultGrids(r), capacityGrids(r), workloadGrids(r), overloadGrids(r), openGrids(r), ceilingGrids(r))
}

// details are the tables behind them.
func details(r *Result) []grid {
	return slices.Concat(faultDetails(r), withRows(answersGrid(r), auditGrid(r)))
}

// terms explain the tables of this result.
func terms(r *Result) []term {
	if len(r.Faults) > 0 {
		return faultTerms
	}
	out := glossary
	if len(r.Rules) > 0 {
		out = ruleTerms
	}
	if len(r.Rules) > 0 && len(r.Runs) > 0 {
		out = slices.Concat(out, glossary)
	}
	if len(openGrids(r)) > 0 {
		out = slices.Concat(out, openTerms)
	}
	if len(overloadGrids(r)) > 0 {
		out = slices.Concat(out, overloadTerms)
	}
	if r.Ceilings.Any() {
		out = slices.Concat(out, ceilingTerms)
	}
	return out
}

// ceilingCaveats say what makes the comparison with ceilings misleading.
func ceilingCaveats(r *Result) []string {
	for i := range r.Runs {
		run := &r.Runs[i]
		if ms := run.Settings.UserLatencyMS; run.Ceiling != nil && ms != nil && *ms > 0 {
			return []string{fmt.Sprintf("Orders waited for %g ms of simulated user latency, which no ceiling has; --user-latency 0 shows what a stage itself costs.", *ms)}
		}
	}
	return nil
}

// stageEnvText lists what a stage was told beyond the usual.
func stageEnvText(run *Run) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(run.Settings.StageEnv)) {
		parts = append(parts, printable(key+"="+run.Settings.StageEnv[key]))
	}
	return strings.Join(parts, " ")
}
