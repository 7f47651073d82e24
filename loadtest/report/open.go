package report

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// Generator says how well the load generator kept the schedule of an open model. Lag is how late a request was sent
// although a connection was free: the wait for a connection is the service's doing, and no lag.
type Generator struct {
	LagP50MS       *float64 `json:"lag_p50_ms"`
	LagP999MS      *float64 `json:"lag_p99_9_ms"`
	LagMaxMS       *float64 `json:"lag_max_ms"`
	LagToleranceMS float64  `json:"lag_tolerance_ms"`
	Late           int64    `json:"late"`       // requests with a lag above the tolerance
	LateShare      float64  `json:"late_share"` // of all requests that were due
	CPUShare       *float64 `json:"cpu_share"`  // of all processors; nil where unknown
	Queued         int64    `json:"queued"`     // requests that waited longer than the tolerance for a free connection
}

// queuedShare is from which share on a reader is told that requests waited for connections.
const queuedShare = 0.01

var openColumns = []column{
	{Title: "run"}, {"due\n/s", true}, {Title: "profile"}, {Title: "arrivals"}, {"requests", true}, {"dropped", true},
	{"waited for a\nconnection", true}, {"response\np50 ms", true}, {"response\np99 ms", true}, {"service\np50 ms", true}, {"service\np99 ms", true},
	{"generator late\np99.9 ms", true}, {Title: "schedule"},
}

// openTerms explain the table of the open model.
var openTerms = []term{
	{"response, service", "Response time counts from the moment when an order was due, service time from the moment when it was sent. " +
		"A generator that waits for a slow service before it sends the next order leaves the waiting of all later buyers out; " +
		"the difference between the two is this coordinated omission. p50 and p99 of the other tables are response times."},
	{"dropped", "Orders that were due but never sent, because no connection was free for as long as a client waits for an answer. They are not among the requests."},
	{"waited for a connection", "Orders that were sent late because all connections were waiting for answers. Their wait is part of the response time."},
	{"generator late", "How late orders were sent although a connection was free. If that happens too often, the generator itself was too slow and the run is void."},
}

// openGrid has a row for each run of the open model.
func openGrid(r *Result) grid {
	g := grid{
		Title:    "Open model: orders that come whether or not earlier ones were answered",
		Settings: "response: from the moment when an order was due · service: from the moment when it was sent · dropped: due, but not sent in time",
		Columns:  openColumns,
	}
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Generator != nil {
			g.Rows = append(g.Rows, openRow(run))
		}
	}
	return g
}

func openRow(run *Run) []cell {
	service := Latency{}
	if run.ServiceTime != nil {
		service = *run.ServiceTime
	}
	kept := cell{Text: "kept"}
	if run.VoidReason != "" {
		kept = cell{Text: "void", Bad: true}
	}
	var dropped int64
	if run.Dropped != nil {
		dropped = *run.Dropped
	}
	return align(openColumns, []cell{
		{Text: short(run)}, {Text: ratesText(run)}, {Text: name(string(run.Settings.Profile))}, {Text: name(string(run.Settings.Arrivals))},
		plain(run.Requests), wrong(dropped), plain(run.Generator.Queued),
		{Text: millis(run.Latency.P50)}, {Text: millis(run.Latency.P99)}, {Text: millis(service.P50)}, {Text: millis(service.P99)},
		{Text: millis(run.Generator.LagP999MS)}, kept,
	})
}

// openGrids is openGrid, or none where every run was a closed loop.
func openGrids(r *Result) []grid {
	return withRows(openGrid(r))
}

// ratesText is the rate of a run in the open model, or "".
func ratesText(run *Run) string {
	if run.Settings.RatePerSecond == nil {
		return ""
	}
	text := rate(*run.Settings.RatePerSecond)
	if peak := run.Settings.PeakPerSecond; peak != nil {
		text += " to " + rate(*peak)
	}
	return text
}

// title is the heading above the runs of the same kind.
func (run *Run) title() string {
	if run.Workload == Sustained && run.Settings.RatePerSecond != nil {
		return "Sustained: orders that come at a given rate"
	}
	return workloadTitle(run.Workload)
}

// buyersText says how many orders can be open at a time.
func buyersText(run *Run) string {
	if run.Settings.RatePerSecond != nil {
		return count(run.Settings.Users, "connection")
	}
	return count(run.Settings.Users, "user")
}

// scheduleText describes the schedule of a run in the open model, or "".
func scheduleText(run *Run) string {
	if run.Settings.RatePerSecond == nil {
		return ""
	}
	return fmt.Sprintf("%s orders due per second (%s, %s arrivals)", ratesText(run), run.Settings.Profile, run.Settings.Arrivals)
}

// schedulesText is scheduleText, without the rates where the runs have many: their table follows.
func schedulesText(runs []*Run, run *Run) string {
	const few = 2
	if len(distinct(runs, func(run **Run) string { return scheduleText(*run) })) <= few {
		return scheduleText(run)
	}
	return "orders due at the rates below"
}

// voidRuns returns the runs whose figures are void.
func voidRuns(r *Result) []*Run {
	var void []*Run
	for i := range r.Runs {
		if r.Runs[i].VoidReason != "" {
			void = append(void, &r.Runs[i])
		}
	}
	return void
}

// describeVoid says of each void run why it is.
func describeVoid(r *Result) []string {
	var out []string
	for _, run := range voidRuns(r) {
		out = append(out, fmt.Sprintf("VOID: %s: %s. Its figures say nothing about the service.", run.Name(), printable(string(run.VoidReason))))
	}
	return out
}

// openCaveats say where the number of connections, and not the service alone, shaped the figures.
func openCaveats(r *Result) []string {
	var out []string
	for i := range r.Runs {
		run := &r.Runs[i]
		if run.Generator == nil || run.Dropped == nil {
			continue
		}
		due := run.Requests + *run.Dropped
		if n := run.Generator.Queued + *run.Dropped; due > 0 && float64(n) > queuedShare*float64(due) {
			out = append(out, fmt.Sprintf("%s: %s of %s orders found all %d connections busy and waited or were dropped: the service was slower than the orders came. "+
				"With more --users more of them would have reached it at once.", run.Name(), humanize.Comma(n), humanize.Comma(due), run.Settings.Users))
		}
	}
	return out
}
