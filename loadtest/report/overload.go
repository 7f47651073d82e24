package report

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// Overload is how a service came through the spike of a run in the open model. Orders belong to the spike when they were due
// in it: Due = Accepted + Overloaded + Other + Dropped. An order is good when it was accepted within the client's time-out
// of being due.
type Overload struct {
	FromSeconds     float64 `json:"from_seconds"` // of the spike, since the start of the run
	Seconds         float64 `json:"seconds"`      // its length
	Due             int64   `json:"due"`
	Accepted        int64   `json:"accepted"`         // good ones
	Overloaded      int64   `json:"overloaded"`       // 503
	OverloadedShare float64 `json:"overloaded_share"` // of Due
	Other           int64   `json:"other"`            // accepted too late, another failure, or unknown
	Dropped         int64   `json:"dropped"`          // never sent: no connection was free within the time-out

	GoodputPerSecond       float64  `json:"goodput_per_second"` // good orders that were answered in the spike
	GoodputBeforePerSecond float64  `json:"goodput_before_per_second"`
	P99MS                  *float64 `json:"p99_ms"`              // response time of the good ones; nil: there were none
	BeforeP99MS            *float64 `json:"before_p99_ms"`       // of the worst second before the spike; nil: not known
	BeforeFailedShare      *float64 `json:"before_failed_share"` // of the orders that were due in the worst second, not good

	Recovered  *bool    `json:"recovered"`   // within the run; nil: it was too short to tell
	RecoveryMS *float64 `json:"recovery_ms"` // from the end of the spike on; see the definition in overloadTerms
}

var overloadColumns = []column{
	{Title: "run"}, {"due\n/s", true}, {"s", true}, {"goodput\n/s", true}, {"before\n/s", true}, {"due in\nspike", true}, {"accepted", true}, {"503", true},
	{"503\nshare", true}, {"dropped", true}, {"other", true}, {"p99\nms", true}, {"p99 before\nms", true}, {"recovery", true},
}

// overloadTerms explain the table of spikes.
var overloadTerms = []term{
	{"goodput", "Orders per second that were accepted while the spike lasted, within the client's time-out (--client-timeout) of being due. What a buyer no longer waits for is no good."},
	{"503", "Orders that were due in the spike and answered 503: the service was full. To be told so at once is better than to wait for nothing."},
	{"other", "Due in the spike, and accepted too late, failed in another way, or unknown."},
	{"recovery", "From the end of the spike to the first moment from which on a whole second is as before: of the orders due in it, the p99 response time is at most 1.1 times " +
		"that of the worst second before the spike, and the share that was not accepted in time is no higher. Looked at every 100 ms. A tolerance, since no two seconds are alike."},
}

// overloadGrids is the table of spikes, or none where there was none.
func overloadGrids(r *Result) []grid {
	g := grid{
		Title:    "Overload: a spike that the service was not made for",
		Settings: "goodput: accepted in time while the spike lasted · recovery: from its end until a whole second is as good as those before",
		Columns:  overloadColumns,
	}
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Overload != nil {
			g.Rows = append(g.Rows, overloadRow(run))
		}
	}
	return withRows(g)
}

func overloadRow(run *Run) []cell {
	o := run.Overload
	back := cell{Text: o.recoveryText()}
	back.Bad = o.Recovered != nil && !*o.Recovered
	return align(overloadColumns, []cell{
		{Text: short(run)}, {Text: rate(o.duePerSecond())}, {Text: fmt.Sprintf("%g", o.Seconds)}, {Text: rate(o.GoodputPerSecond)}, {Text: rate(o.GoodputBeforePerSecond)},
		plain(o.Due), plain(o.Accepted), plain(o.Overloaded), {Text: shareText(o.OverloadedShare)}, plain(o.Dropped), plain(o.Other),
		{Text: millis(o.P99MS)}, {Text: millis(o.BeforeP99MS)}, back,
	})
}

func (o *Overload) duePerSecond() float64 {
	if o.Seconds == 0 {
		return 0
	}
	return float64(o.Due) / o.Seconds
}

func (o *Overload) recoveryText() string {
	switch {
	case o.Recovered == nil:
		return unknown
	case !*o.Recovered:
		return "not within the run"
	default:
		return fmt.Sprintf("%.1f s", *o.RecoveryMS/1000)
	}
}

// describeOverload says in one sentence how each spike went.
func describeOverload(r *Result) []string {
	var out []string
	for i := range r.Runs {
		run := &r.Runs[i]
		if o := run.Overload; o != nil && run.VoidReason == "" {
			out = append(out, fmt.Sprintf("%s, in a spike to %s orders/s for %g s: %s orders/s in time (%s before it), %s turned away with 503 (%s), %s.",
				run.place(), rate(o.duePerSecond()), o.Seconds, rate(o.GoodputPerSecond), rate(o.GoodputBeforePerSecond),
				humanize.Comma(o.Overloaded), shareText(o.OverloadedShare), o.afterText()))
		}
	}
	return out
}

func (o *Overload) afterText() string {
	switch {
	case o.Recovered == nil:
		return "and the run is too short to tell when it had recovered"
	case !*o.Recovered:
		return "and it did not recover within the run"
	case *o.RecoveryMS == 0:
		return "and as before right after it"
	default:
		return "and as before " + o.recoveryText() + " after it"
	}
}

// overloadGroup draws what was asked and what was done, for each run with a spike.
func overloadGroup(r *Result) chartGroup {
	g := chartGroup{
		Title:  "Overload: what was asked, and what was done",
		Note:   "Orders per second. Shaded: the warm-up, and the spike.",
		Legend: []legend{{"stock", "orders due"}, {"sold", "orders accepted"}, {"refused", "turned away, failed, unknown or dropped"}},
	}
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Overload != nil && len(run.Series) > 0 && run.Settings.RatePerSecond != nil {
			g.Charts = append(g.Charts, overloadChart(run))
		}
	}
	return g
}

func overloadChart(run *Run) chart {
	o := run.Overload
	c := chart{Title: short(run), Bad: o.Recovered != nil && !*o.Recovered}
	c.Second = fmt.Sprintf("%s orders/s in time in the spike (%s before it), %s turned away with 503, %s",
		rate(o.GoodputPerSecond), rate(o.GoodputBeforePerSecond), shareText(o.OverloadedShare), o.afterText())
	end := run.Settings.WarmupSeconds + run.Settings.DurationSeconds
	due := duePoints(run, end)
	accepted, _ := eachInterval(run, acceptedRate)
	refusals, _ := eachInterval(run, refused)
	var most float64
	for _, points := range [][]point{due, accepted, refusals} {
		for _, p := range points {
			most = max(most, p.Y)
		}
	}
	y, ticks := linearAxis(most)
	p := newPlot(plotHeight, axis{max: max(end, 1e-9)}, y, "seconds since the start")
	p.band(0, run.Settings.WarmupSeconds)
	p.band(o.FromSeconds, o.FromSeconds+o.Seconds)
	p.yTicks(ticks, axisCount)
	p.secondTicks(end)
	p.line("stock", due)
	p.line("refused", refusals)
	p.line("sold", accepted)
	c.Plot, c.Label = p, c.Title+": "+c.Second+"."
	return c
}

// duePoints is the schedule of a spike.
func duePoints(run *Run, end float64) []point {
	o, base := run.Overload, *run.Settings.RatePerSecond
	peak := base
	if run.Settings.PeakPerSecond != nil {
		peak = *run.Settings.PeakPerSecond
	}
	from, to := o.FromSeconds, o.FromSeconds+o.Seconds
	return []point{{0, base}, {from, base}, {from, peak}, {to, peak}, {to, base}, {end, base}}
}
