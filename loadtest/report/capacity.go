package report

import (
	"fmt"
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
	RatePerSecond       float64  `json:"rate_per_second"`       // confirmed; 0: not even the lowest rate was held
	MissedPerSecond     *float64 `json:"missed_per_second"`     // the lowest rate above it that was not held; nil: none
	Limited             bool     `json:"limited"`               // by the generator, or the highest rate allowed: it may hold more
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
	var formulas []string
	for i := range r.Capacities {
		c := &r.Capacities[i]
		found.Rows = append(found.Rows, capacityRow(c))
		formulas = append(formulas, c.Formula)
		for _, p := range c.Probes {
			probes.Rows = append(probes.Rows, probeRow(c, p))
		}
	}
	found.Settings = strings.Join(formulas, "\n") + "\n" + whyNotTheTextbook
	return []grid{found, probes}
}

func capacityRow(c *Capacity) []cell {
	holds, missed := cell{Text: rate(c.RatePerSecond)}, unknown
	if c.Limited {
		holds.Text = "≥ " + holds.Text
	}
	if c.RatePerSecond == 0 {
		holds = cell{Text: "none", Bad: true}
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

// capacityCaveats say where a capacity is that of something else than the service.
func capacityCaveats(r *Result) []string {
	var out []string
	for i := range r.Capacities {
		c := &r.Capacities[i]
		switch {
		case c.RatePerSecond == 0:
			out = append(out, fmt.Sprintf("%s did not hold %s at any rate that was tried.", c.place(), printable(c.Objective)))
		case c.Limited:
			out = append(out, fmt.Sprintf("%s may hold more than %s/s: there the generator, or --max-rate, was the limit.", c.place(), rate(c.RatePerSecond)))
		}
	}
	return slices.Clip(out)
}
