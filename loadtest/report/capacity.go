package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// Capacity is the highest rate that a service held within an objective.
type Capacity struct {
	Target              string   `json:"target"`
	Stage               Text     `json:"stage"`
	Guard               Text     `json:"guard"`
	Objective           string   `json:"objective"`             // "p99=50ms,failed=0.1%"
	RatePerSecond       float64  `json:"rate_per_second"`       // confirmed; 0: no rate that was tried was held
	MissedPerSecond     *float64 `json:"missed_per_second"`     // the lowest rate above it that was not held; nil: none
	Limited             bool     `json:"limited"`               // by the generator, or the highest rate allowed: it may hold more
	Unfinished          bool     `json:"unfinished"`            // time was up: the rate held once and is not confirmed
	SupportedDailyUsers int64    `json:"supported_daily_users"` // by Formula
	RequestsPerUser     float64  `json:"requests_per_user"`     // and day; assumed
	PeakFactor          float64  `json:"peak_factor"`           // assumed
	Formula             string   `json:"formula"`
	Probes              []Probe  `json:"probes"` // in order
}

// Probe is one rate that was tried.
type Probe struct {
	Phase           string   `json:"phase"` // bracket, bisect or confirm
	RatePerSecond   float64  `json:"rate_per_second"`
	Seconds         float64  `json:"seconds"`
	Verdict         string   `json:"verdict"` // held, missed or void
	Why             Text     `json:"why"`     // not held
	OrdersPerSecond float64  `json:"orders_per_second"`
	P50MS           *float64 `json:"p50_ms"` // response times of accepted orders
	P99MS           *float64 `json:"p99_ms"`
	FailedShare     float64  `json:"failed_share"` // of the orders that were due: not accepted
}

// textbookUsers are the daily users that the textbook gives to each model.
var textbookUsers = map[Text]string{
	"stage1-single": "1,000", "stage2-multiproc": "10,000", "stage3-threads": "50,000", "stage4-async": "100,000+", "stage5-hybrid": "1,000,000+",
}

// whyNotTheTextbook is said wherever daily users are.
const whyNotTheTextbook = "Measured daily users cannot match the textbook's: it names neither the requests of a user, nor the peak, nor an objective, " +
	"nor the work of an order, nor the machine, and daily users follow from all five. What can be compared is the ratio between stages that were measured together."

var capacityColumns = []column{
	{Title: "stage"}, {Title: "guard"}, {Title: "objective"}, {"holds\n/s", true}, {"not held\nat /s", true}, {"daily users", true}, {"textbook\nsays", true},
}

var probeColumns = []column{
	{Title: "stage"}, {Title: "phase"}, {"due\n/s", true}, {"seconds", true}, {"orders/s", true}, {"p50\nms", true}, {"p99\nms", true}, {"failed", true}, {Title: "verdict"},
}

// capacityGrids are the capacities and their probes; none where nothing was searched for.
func capacityGrids(r *Result) []grid {
	if len(r.Capacities) == 0 {
		return nil
	}
	found := grid{Title: "Capacity: the highest rate within the objective", Columns: capacityColumns}
	probes := grid{
		Title:    "Capacity: all probes",
		Settings: "failed: orders that were due and not accepted, for whatever reason · void: the generator could not keep the schedule",
		Columns:  probeColumns,
	}
	for i := range r.Capacities {
		c := &r.Capacities[i]
		found.Rows = append(found.Rows, capacityRow(c))
		for _, p := range c.Probes {
			probes.Rows = append(probes.Rows, probeRow(c, p))
		}
	}
	found.Settings = printable(formulaText(r.Capacities)) + ".\n" + whyNotTheTextbook
	return []grid{found, probes}
}

// formulaText is the calculation of the daily users: with its figures where there is one, else without the rate, which
// stands in the table.
func formulaText(all []Capacity) string {
	c := all[0]
	if len(all) == 1 {
		return c.Formula
	}
	return fmt.Sprintf("daily users = rate held × 86,400 s ÷ (requests per user and day × peak factor) = rate held × 86,400 s ÷ (%g × %g); both are assumptions",
		c.RequestsPerUser, c.PeakFactor)
}

func capacityRow(c *Capacity) []cell {
	holds, missed := cell{Text: rate(c.RatePerSecond)}, unknown
	if c.Limited {
		holds.Text = "≥ " + holds.Text
	}
	switch {
	case c.RatePerSecond == 0 && c.Unfinished:
		holds = cell{Text: "not found", Bad: true}
	case c.RatePerSecond == 0:
		holds = cell{Text: "none", Bad: true}
	case c.Unfinished:
		holds.Text += " (not confirmed)"
	}
	if c.MissedPerSecond != nil {
		missed = rate(*c.MissedPerSecond)
	}
	textbook := textbookUsers[c.Stage]
	if textbook == "" {
		textbook = unknown
	}
	return align(capacityColumns, []cell{
		{Text: c.place()}, {Text: name(string(c.Guard))}, {Text: name(c.Objective)}, holds, {Text: missed},
		{Text: humanize.Comma(c.SupportedDailyUsers)}, {Text: textbook},
	})
}

func probeRow(c *Capacity, p Probe) []cell {
	verdict := p.Verdict
	if p.Why != "" {
		verdict += ": " + printable(string(p.Why))
	}
	return align(probeColumns, []cell{
		{Text: c.place()}, {Text: p.Phase}, {Text: rate(p.RatePerSecond)}, {Text: fmt.Sprintf("%.1f", p.Seconds)}, {Text: rate(p.OrdersPerSecond)},
		{Text: millis(p.P50MS)}, {Text: millis(p.P99MS)}, {Text: fmt.Sprintf("%.2f%%", 100*p.FailedShare)}, {Text: verdict},
	})
}

// place is the stage, or the target where that is no stage.
func (c *Capacity) place() string {
	if c.Stage == "" {
		return name(c.Target)
	}
	return name(string(c.Stage))
}

// unheld returns the capacities of which not even one rate was held.
func unheld(r *Result) []*Capacity {
	var none []*Capacity
	for i := range r.Capacities {
		if c := &r.Capacities[i]; c.RatePerSecond == 0 {
			none = append(none, c)
		}
	}
	return none
}

// describeUnheld says so of each of them.
func describeUnheld(r *Result) []string {
	var out []string
	for _, c := range unheld(r) {
		lowest := math.Inf(1)
		for _, p := range c.Probes {
			lowest = min(lowest, p.RatePerSecond)
		}
		out = append(out, fmt.Sprintf("Objective: %s did not hold %s at any rate that was tried, down to %s/s.", c.place(), printable(c.Objective), rate(lowest)))
	}
	return out
}

// describeCapacities says which rates were held.
func describeCapacities(r *Result) []string {
	var out []string
	for i := range r.Capacities {
		if c := &r.Capacities[i]; c.RatePerSecond > 0 {
			out = append(out, fmt.Sprintf("%s holds %s/s", c.place(), rate(c.RatePerSecond)))
		}
	}
	if len(out) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("Within %s: %s.", printable(r.Capacities[0].Objective), list(out, "and"))}
}

// capacityCaveats say where a capacity is that of something else than the service.
func capacityCaveats(r *Result) []string {
	var out []string
	for i := range r.Capacities {
		c := &r.Capacities[i]
		switch {
		case c.RatePerSecond == 0: // that is in the judgement
		case c.Unfinished:
			out = append(out, fmt.Sprintf("%s held %s/s once: time was up before that was confirmed. A longer --search-time finds more.", c.place(), rate(c.RatePerSecond)))
		case c.Limited:
			out = append(out, fmt.Sprintf("%s may hold more than %s/s: there the generator, or --max-rate, was the limit.", c.place(), rate(c.RatePerSecond)))
		}
	}
	return slices.Clip(out)
}

// capacityGroup shows the capacities beside the textbook's claims. The claims have no place on the axis: they are of
// another work, on another machine.
func capacityGroup(r *Result, style styles) chartGroup {
	g := chartGroup{Title: "Capacity: orders per second within " + name(r.Capacities[0].Objective), Note: whyNotTheTextbook}
	c := chart{Title: "Held, as daily users, and what the textbook says of the model"}
	var most float64
	for i := range r.Capacities {
		most = max(most, r.Capacities[i].RatePerSecond)
	}
	var spoken []string
	for i := range r.Capacities {
		found := &r.Capacities[i]
		value := fmt.Sprintf("%s/s · %s daily users", rate(found.RatePerSecond), axisCount(float64(found.SupportedDailyUsers)))
		if claim := textbookUsers[found.Stage]; claim != "" {
			value += " · textbook " + claim
		}
		class := style.of(&Run{Stage: found.Stage, Target: found.Target, Guard: found.Guard})
		c.Bars = append(c.Bars, bar{Class: class, Name: found.place(), Value: value, Width: percent(100 * found.RatePerSecond / max(most, 1e-9))})
		spoken = append(spoken, found.place()+": "+value)
	}
	c.Label = "Capacity. " + strings.Join(spoken, "; ") + "."
	g.Charts = []chart{c}
	return g
}
