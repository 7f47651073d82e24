package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/dustin/go-humanize"

	"example.com/flashsale/loadtest/audit"
)

// unknown is what a table shows for a value that is nil.
const unknown = "–"

// longText is from which length on a text is no name, in bytes.
const longText = 40

// maxName bounds names that come from the service under test, in characters.
const maxName = 40

// column is one column of the table of runs, the same in every form of the report.
type column struct {
	Title string // may have two lines
	Right bool   // numbers
}

// cell is one value. Bad ones are red wherever there is colour.
type cell struct {
	Text  string
	Bad   bool
	Right bool
}

// Long says that the text may take several lines on a page.
func (c cell) Long() bool { return !c.Right && len(c.Text) > longText }

// grid is one table.
type grid struct {
	Title    string
	Settings string // users, stock, simulated latency: what its runs have in common
	Columns  []column
	Rows     [][]cell
}

var columns = []column{
	{Title: "stage"}, {Title: "model"}, {Title: "guard"}, {Title: "expected"},
	{"sold/stock", true}, {"oversold", true}, {Title: "verdict"},
	{"orders/s", true}, {"QPS", true}, {"p50\nms", true}, {"p99\nms", true},
	{"memory", true}, {"threads", true}, {"switches\nper order", true},
}

// workloadGrids returns one table per workload, repeats of one stage and guard beside each other.
func workloadGrids(r *Result) []grid {
	var out []grid
	for _, title := range distinct(r.Runs, (*Run).title) {
		runs := runsWithTitle(r, title)
		g := grid{Title: title, Settings: describeSettings(runs), Columns: columns}
		for _, run := range together(runs) {
			g.Rows = append(g.Rows, row(run))
		}
		out = append(out, g)
	}
	return out
}

// together sorts runs so that those of one stage, and in it of one guard, follow each other; otherwise the order stays.
func together(runs []*Run) []*Run {
	stages := distinct(runs, func(run **Run) string { return (*run).place() })
	guards := distinct(runs, func(run **Run) string { return string((*run).Guard) })
	slices.SortStableFunc(runs, func(a, b *Run) int {
		return cmp.Or(
			cmp.Compare(slices.Index(stages, a.place()), slices.Index(stages, b.place())),
			cmp.Compare(slices.Index(guards, string(a.Guard)), slices.Index(guards, string(b.Guard))),
		)
	})
	return runs
}

func row(run *Run) []cell {
	sold, oversold, verdict := auditCells(run.Audit)
	res := run.Resources
	cells := []cell{
		{Text: run.place()}, {Text: model(run)}, {Text: name(string(run.Guard))}, {Text: name(string(run.Expected))},
		sold, oversold, verdict,
		{Text: rate(run.OrdersPerSecond)}, {Text: rate(run.QPS)},
		{Text: millis(run.Latency.P50)}, {Text: millis(run.Latency.P99)},
		{Text: memory(res.PSSBytesMax)}, {Text: whole(res.OSThreadsMax)}, {Text: decimal(res.ContextSwitchesPerOrder)},
	}
	return align(columns, cells)
}

// align sets on which side the cells of a row stand.
func align(columns []column, cells []cell) []cell {
	for i := range cells {
		cells[i].Right = columns[i].Right
	}
	return cells
}

func auditCells(a *audit.Report) (sold, oversold, verdict cell) {
	if a == nil {
		return cell{Text: unknown}, cell{Text: unknown}, cell{Text: "not audited"}
	}
	sold = cell{Text: compact(a.Sold) + "/" + compact(a.Initial)}
	oversold = cell{Text: humanize.Comma(a.Oversold), Bad: a.Oversold > 0}
	verdict = cell{Text: string(a.Verdict), Bad: a.Verdict != audit.OK}
	return sold, oversold, verdict
}

// model says in a few words how the stage of a run admits and executes requests.
func model(run *Run) string {
	s := run.Settings
	switch run.Stage {
	case "stage1-single":
		return "one at a time"
	case "stage2-multiproc":
		return times(s.Processes, "processes")
	case "stage3-threads":
		return times(s.Workers, "threads")
	case "stage4-async":
		return "goroutines"
	case "stage5-hybrid":
		if s.Processes == nil {
			return "goroutines"
		}
		return fmt.Sprintf("%d×goroutines", *s.Processes)
	default:
		return unknown
	}
}

func times(n *int, what string) string {
	if n == nil {
		return what
	}
	return fmt.Sprintf("%d %s", *n, what)
}

func workloadTitle(workload string) string {
	switch workload {
	case FlashSale:
		return "Flash sale: all users at once for a few units"
	case Sustained:
		return "Sustained: users who order without pause"
	default:
		return name(workload)
	}
}

// describeSettings names the settings of runs. Where they differ, all values appear.
func describeSettings(runs []*Run) string {
	parts := []struct {
		before string
		value  func(*Run) string
	}{
		{"", buyersText},
		{"", stockText},
		{"", productsText},
		{"", func(run *Run) string { return schedulesText(runs, run) }},
		{"", durationText},
		{"", latencyText},
		{"database connections: at most ", connectionsText},
		{"stage settings: ", stageEnvText},
	}
	var out []string
	for _, part := range parts {
		values := distinct(runs, func(run **Run) string { return part.value(*run) })
		values = slices.DeleteFunc(values, func(s string) bool { return s == "" })
		if len(values) > 0 {
			out = append(out, part.before+list(values, "or"))
		}
	}
	return strings.Join(out, " · ")
}

func connectionsText(run *Run) string {
	if run.Settings.DBConns == nil {
		return ""
	}
	return fmt.Sprint(*run.Settings.DBConns)
}

func stockText(run *Run) string {
	if run.Settings.Stock == nil {
		return ""
	}
	return compact(*run.Settings.Stock) + " units"
}

func productsText(run *Run) string {
	if run.Settings.Products < 2 {
		return ""
	}
	text := count(run.Settings.Products, "product")
	if run.Settings.Skew > 0 {
		text += fmt.Sprintf(" with skew %g", run.Settings.Skew)
	}
	return text
}

func durationText(run *Run) string {
	if run.Workload == FlashSale {
		return fmt.Sprintf("at most %g s", run.Settings.DurationSeconds)
	}
	return fmt.Sprintf("%g s after %g s of warm-up", run.Settings.DurationSeconds, run.Settings.WarmupSeconds)
}

func latencyText(run *Run) string {
	switch ms := run.Settings.UserLatencyMS; {
	case ms == nil:
		return ""
	case *ms == 0:
		return "no simulated user latency"
	default:
		return fmt.Sprintf("user latency %g ms (simulated)", *ms)
	}
}

// name makes a name from the service under test safe to print and bounds its length.
func name(s string) string {
	if s == "" {
		return unknown
	}
	if runes := []rune(s); len(runes) > maxName {
		s = string(runes[:maxName-1]) + "…"
	}
	return printable(s)
}

// printable replaces what a terminal would obey, such as escape sequences.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// compact writes a count so that it stays narrow: the sustained workload has a billion units.
func compact(n int64) string {
	const billion = 1_000_000_000
	if n >= billion && n%billion == 0 {
		return humanize.Comma(n/billion) + "bn"
	}
	return humanize.Comma(n)
}

func rate(perSecond float64) string {
	if perSecond < 100 {
		return fmt.Sprintf("%.1f", perSecond)
	}
	return humanize.Comma(int64(math.Round(perSecond)))
}

func millis(ms *float64) string {
	switch {
	case ms == nil:
		return unknown
	case *ms < 10:
		return fmt.Sprintf("%.2f", *ms)
	case *ms < 100:
		return fmt.Sprintf("%.1f", *ms)
	default:
		return humanize.Comma(int64(math.Round(*ms)))
	}
}

func decimal(x *float64) string {
	if x == nil {
		return unknown
	}
	return fmt.Sprintf("%.1f", *x)
}

func whole(n *int64) string {
	if n == nil {
		return unknown
	}
	return humanize.Comma(*n)
}

func memory(bytes *int64) string {
	if bytes == nil {
		return unknown
	}
	return fmt.Sprintf("%s MiB", humanize.Comma((*bytes+1<<19)>>20))
}
