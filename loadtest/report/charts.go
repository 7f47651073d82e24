package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// Limits of the charts.
const (
	colours    = 6   // of stages in the style sheet
	dashes     = 4   // of guards, likewise
	farAway    = 3.0 // a ceiling beyond this many times the longest bar is told, not marked: it would make all bars short
	logFrom    = 20  // a largest value so many times the smallest needs a logarithmic axis
	maxSales   = 16  // charts of flash sales; the broken ones come first
	plotHeight = 220.0
	saleHeight = 150.0
)

// chartGroup is some charts side by side.
type chartGroup struct {
	Title  string
	Note   string
	Legend []legend
	Small  bool // many charts in a row
	Charts []chart
}

// chartGroups returns all charts of a result, as far as there is something to draw.
func chartGroups(r *Result) []chartGroup {
	style := newStyles(r)
	rates := chartGroup{
		Title: "Orders per second",
		Note: "Accepted orders alone: answers such as sold out are none. Pale: a guard that is broken here. " +
			"Vertical mark: the ceiling that bounds the run, where one was measured. With repeats: median, lowest and highest.",
	}
	groups := []chartGroup{{}, faultGroup(r), overloadGroup(r)}
	if len(r.Capacities) > 0 {
		groups = append(groups, capacityGroup(r, style))
	}
	var times []chartGroup
	for _, title := range distinct(r.Runs, (*Run).title) {
		runs := sameGuard(together(runsWithTitle(r, title)))
		if runs[0][0].Settings.RatePerSecond == nil { // else the rate was given, and is no result
			rates.Charts = append(rates.Charts, rateChart(runs, style))
		}
		if runs[0][0].Workload == FlashSale {
			groups = append(groups, saleGroup(runs))
		}
		if runs[0][0].Workload == Sustained || !hasWorkload(r, Sustained) {
			times = append(times, timeGroup(runs, style))
		}
	}
	groups[0] = rates
	return slices.DeleteFunc(append(groups, times...), func(g chartGroup) bool { return len(g.Charts) == 0 })
}

func runsWithTitle(r *Result, title string) []*Run {
	var runs []*Run
	for i := range r.Runs {
		if r.Runs[i].title() == title {
			runs = append(runs, &r.Runs[i])
		}
	}
	return runs
}

func hasWorkload(r *Result, workload string) bool {
	return slices.ContainsFunc(r.Runs, func(run Run) bool { return run.Workload == workload })
}

// styles gives each stage a colour, and each guard of a stage another dash, the same in all charts.
type styles struct {
	places []string
	guards map[string][]string // of each place
}

func newStyles(r *Result) styles {
	s := styles{guards: map[string][]string{}}
	for i := range r.Runs {
		run := &r.Runs[i]
		place := run.place()
		if !slices.Contains(s.places, place) {
			s.places = append(s.places, place)
		}
		if guard := string(run.Guard); !run.broken() && !slices.Contains(s.guards[place], guard) {
			s.guards[place] = append(s.guards[place], guard)
		}
	}
	return s
}

// of returns the classes of a run.
func (s styles) of(run *Run) string {
	place := run.place()
	return fmt.Sprintf("s%d d%d", slices.Index(s.places, place)%colours, max(slices.Index(s.guards[place], string(run.Guard)), 0)%dashes)
}

// short is stage and guard.
func short(run *Run) string {
	if run.Guard == "" {
		return run.place()
	}
	return run.place() + " · " + name(string(run.Guard))
}

func rateChart(groups [][]*Run, style styles) chart {
	c := chart{Title: groups[0][0].title()}
	var longest float64
	for _, runs := range groups {
		longest = max(longest, slices.Max(ratesOf(runs)))
	}
	scale := max(longest, 1e-9)
	for _, runs := range groups {
		if ceiling := ceilingOf(runs); ceiling <= farAway*longest {
			scale = max(scale, ceiling)
		}
	}
	var spoken []string
	for _, runs := range groups {
		b := rateBar(runs, scale)
		b.Class = style.of(runs[0])
		if runs[0].broken() {
			b.Class += " pale"
		}
		c.Bars = append(c.Bars, b)
		spoken = append(spoken, b.Name+": "+b.Value)
	}
	c.Label = "Orders per second. " + strings.Join(spoken, "; ") + "."
	return c
}

// rateBar is the bar of the runs of one stage and guard.
func rateBar(runs []*Run, scale float64) bar {
	rates := ratesOf(runs)
	at := func(v float64) string { return percent(100 * v / scale) }
	b := bar{Name: short(runs[0]), Value: rate(median(rates)), Width: at(median(rates))}
	if len(rates) > 1 {
		b.Low, b.High = at(slices.Min(rates)), at(slices.Max(rates))
	}
	if over := oversoldMost(runs); over > 0 {
		b.Bad, b.Value = true, b.Value+" · oversold by "+humanize.Comma(over)
	}
	if ceiling := ceilingOf(runs); ceiling > 0 {
		judged := withCeiling(runs)
		short := ceilingShort(judged[0].Ceiling.Name)
		b.Value += fmt.Sprintf(" · %.0f%% of %s", 100*median(each(judged, func(run *Run) float64 { return run.Ceiling.Ratio })), short)
		b.MarkMeaning = fmt.Sprintf("Ceiling (%s): %s per second", short, rate(ceiling))
		if ceiling <= scale {
			b.Mark = at(ceiling)
		}
	}
	return b
}

func ratesOf(runs []*Run) []float64 {
	return each(runs, func(run *Run) float64 { return run.OrdersPerSecond })
}

func each(runs []*Run, value func(*Run) float64) []float64 {
	values := make([]float64, len(runs))
	for i, run := range runs {
		values[i] = value(run)
	}
	return values
}

func withCeiling(runs []*Run) []*Run {
	return slices.DeleteFunc(slices.Clone(runs), func(run *Run) bool { return run.Ceiling == nil })
}

// ceilingOf returns the ceiling of runs per second, or 0 where none was measured.
func ceilingOf(runs []*Run) float64 {
	judged := withCeiling(runs)
	if len(judged) == 0 {
		return 0
	}
	return median(each(judged, func(run *Run) float64 { return run.Ceiling.Mean() }))
}

func ceilingShort(key string) string {
	if words, ok := ceilingWords[key]; ok {
		return words.short
	}
	return name(key)
}

func oversoldMost(runs []*Run) int64 {
	var most int64
	for _, run := range runs {
		if run.Audit != nil {
			most = max(most, run.Audit.Oversold)
		}
	}
	return most
}

// saleGroup has a chart for each stage and guard of a flash sale: of its runs the one that oversold most.
func saleGroup(groups [][]*Run) chartGroup {
	g := chartGroup{
		Title: "Flash sale: orders against stock",
		Note: "Where the orders cross the line of the stock, units are sold that do not exist. A broken guard can leave the stock in the database " +
			"above 0 all the while: stale writers write old values back. The first second is drawn in steps of 10 ms.",
		Legend: []legend{{"sold", "units in accepted orders"}, {"stock", "stock in the database"}, {"over", "oversold"}},
		Small:  true,
	}
	for _, runs := range groups {
		run := slices.MaxFunc(runs, func(a, b *Run) int { return cmp.Compare(oversoldMost([]*Run{a}), oversoldMost([]*Run{b})) })
		if len(run.Series) > 0 && run.Settings.Stock != nil && len(g.Charts) < maxSales {
			g.Charts = append(g.Charts, saleChart(run))
		}
	}
	return g
}

func saleChart(run *Run) chart {
	initial := float64(*run.Settings.Stock) * float64(max(run.Settings.Products, 1))
	sold, stock := soldPoints(run), stockPoints(run, initial)
	end := sold[len(sold)-1]
	c := chart{Title: short(run), Second: fmt.Sprintf("sold %s of %s", axisCount(end.Y), axisCount(initial))}
	if over := oversoldMost([]*Run{run}); over > 0 {
		c.Second, c.Bad = c.Second+": oversold by "+humanize.Comma(over), true
	}
	c.Label = fmt.Sprintf("%s: %s after %.2f seconds.", c.Title, c.Second, end.X)
	y, ticks := linearAxis(max(initial, end.Y) * 1.02)
	span := max(end.X*1.1, 0.05)
	p := newPlot(saleHeight, axis{max: span}, y, "seconds since the start")
	p.yTicks(ticks, axisCount)
	p.secondTicks(span)
	p.level("initial", initial, "stock at the start: "+humanize.Comma(int64(initial)))
	p.areaAbove("over", sold, initial)
	p.line("stock", withRest(upTo(stock, span), run, end.X))
	p.line("sold", sold)
	c.Plot = p
	return c
}

// soldPoints adds the accepted orders of a run up, until the last one.
func soldPoints(run *Run) []point {
	points := []point{{}}
	var sum int64
	for i := range run.Series {
		at := &run.Series[i]
		sum += at.Accepted
		if at.Accepted > 0 {
			if before := points[len(points)-1]; at.TSeconds > before.X { // nothing was sold in between
				points = append(points, point{at.TSeconds, before.Y})
			}
			points = append(points, point{at.TSeconds + at.Seconds, float64(sum)})
		}
	}
	return points
}

func stockPoints(run *Run, initial float64) []point {
	points := []point{{0, initial}}
	for i := range run.Series {
		if at := &run.Series[i]; at.StockLeft != nil {
			points = append(points, point{at.TSeconds + at.Seconds, float64(*at.StockLeft)})
		}
	}
	return points
}

// withRest ends the points of the stock, which is read now and then, with what the audit found after the last order.
func withRest(stock []point, run *Run, end float64) []point {
	if last := stock[len(stock)-1]; run.Audit != nil && last.X < end {
		stock = append(stock, point{end, float64(run.Audit.Left)})
	}
	return stock
}

// upTo leaves out the points beyond x.
func upTo(points []point, x float64) []point {
	return slices.DeleteFunc(points, func(p point) bool { return p.X > x })
}

// timeGroup has the latencies and the time series of the runs whose guard is safe, or of all where none is.
func timeGroup(groups [][]*Run, style styles) chartGroup {
	g := chartGroup{Title: "Latency and time series: " + name(groups[0][0].Workload) + " workload"}
	if groups[0][0].Settings.RatePerSecond != nil {
		g.Title = "Latency and time series: orders that come at a given rate"
	}
	safe := slices.DeleteFunc(slices.Clone(groups), func(runs []*Run) bool { return runs[0].broken() })
	if len(safe) > 0 {
		groups = safe
	}
	var runs []*Run
	for _, group := range groups {
		run := middle(group)
		runs = append(runs, run)
		g.Legend = append(g.Legend, legend{style.of(run), short(run)})
		if len(group) > 1 {
			g.Note = "Of several runs of one stage and guard, the one with the median of orders per second."
		}
	}
	for _, c := range []*chart{
		latencyChart(runs, style),
		seriesChart(runs, style, "Orders per second, second by second", "", axisCount, acceptedRate),
		seriesChart(runs, style, "p99 latency, second by second", "The maximum in seconds with fewer than 100 orders.", axisMillis, worst),
		seriesChart(runs, style, "Requests that became no order, per second", "Rejected, failed, unknown and dropped.", axisCount, refused),
		seriesChart(runs, style, "Requests in flight", "", axisCount, inFlight(runs)),
		seriesChart(runs, style, "Busy cores of the stage", "", axisCount, func(p *Point) (float64, bool) { return known(p.CPUCores) }),
		seriesChart(runs, style, "Database sessions that wait for a lock", "Looked at once a second.", axisCount, func(p *Point) (float64, bool) {
			return known(p.DBLockWaits)
		}),
	} {
		if c != nil {
			g.Charts = append(g.Charts, *c)
		}
	}
	return g
}

// worst is the p99 of an interval, or its maximum where there are too few orders for that.
func worst(p *Point) (float64, bool) {
	switch {
	case p.P99MS != nil:
		return *p.P99MS, true
	case p.MaxMS != nil:
		return *p.MaxMS, true
	}
	return 0, false
}

func acceptedRate(p *Point) (float64, bool) { return float64(p.Accepted) / p.Seconds, true }

func refused(p *Point) (float64, bool) {
	n := p.Rejected + p.Failed + p.Unknown
	if p.Dropped != nil {
		n += *p.Dropped
	}
	return float64(n) / p.Seconds, true
}

// inFlight is drawn for the open model alone: in the closed one it is the number of users.
func inFlight(runs []*Run) func(*Point) (float64, bool) {
	open := slices.ContainsFunc(runs, func(run *Run) bool { return run.Settings.RatePerSecond != nil })
	return func(p *Point) (float64, bool) { return float64(p.InFlight), open }
}

func known[T int64 | float64](v *T) (float64, bool) {
	if v == nil {
		return 0, false
	}
	return float64(*v), true
}

// middle returns the run with the median of orders per second.
func middle(runs []*Run) *Run {
	sorted := slices.SortedFunc(slices.Values(runs), func(a, b *Run) int { return cmp.Compare(a.OrdersPerSecond, b.OrdersPerSecond) })
	return sorted[(len(sorted)-1)/2]
}

// nines maps a percentile to the axis of the latency chart, on which 90, 99 and 99.9 are equally far apart.
func nines(percentile float64) float64 { return math.Log10(100 / (100 - percentile)) }

// latencyChart draws latency over percentile. The maximum of n orders stands where 1 of n is.
func latencyChart(runs []*Run, style styles) *chart {
	lines := make([][]point, len(runs))
	smallest, largest, last := math.Inf(1), 0.0, 1.0
	var spoken []string
	for i, run := range runs {
		for _, at := range run.LatencyPercentiles {
			x := nines(at.Percentile)
			if at.Percentile >= 100 {
				x = math.Log10(float64(max(run.Latency.Count, 1)))
			}
			lines[i] = append(lines[i], point{x, at.MS})
			smallest, largest, last = min(smallest, at.MS), max(largest, at.MS), max(last, x)
		}
		spoken = append(spoken, short(run)+": p50 "+millis(run.Latency.P50)+" ms, p99 "+millis(run.Latency.P99)+" ms")
	}
	if largest == 0 {
		return nil
	}
	y, ticks := logAxis(smallest, largest)
	p := newPlot(plotHeight, axis{max: last}, y, "percentile of accepted orders")
	p.yTicks(ticks, axisMillis)
	for _, percentile := range []float64{0, 50, 90, 99, 99.9, 99.99, 99.999} {
		if nines(percentile) <= last {
			p.xTick(nines(percentile), fmt.Sprintf("%g", percentile))
		}
	}
	for i, run := range runs {
		p.line(style.of(run), lines[i])
	}
	return &chart{
		Title: "Latency by percentile", Label: "Latency by percentile. " + strings.Join(spoken, "; ") + ".",
		Note: "Both axes are logarithmic. The right end of a line is the slowest order.", Plot: p,
	}
}

// seriesChart draws a value of each interval over time, or returns nil where there is none.
func seriesChart(runs []*Run, style styles, title, note string, text func(float64) string, value func(*Point) (float64, bool)) *chart {
	lines := make([][]point, len(runs))
	smallest, largest, end, warmup := math.Inf(1), 0.0, 0.0, 0.0
	for i, run := range runs {
		warmup = max(warmup, run.Settings.WarmupSeconds)
		var last float64
		lines[i], last = eachInterval(run, value)
		end = max(end, last)
		for _, p := range lines[i] {
			smallest, largest = min(smallest, p.Y), max(largest, p.Y)
		}
	}
	if largest == 0 {
		return nil
	}
	y, ticks := linearAxis(largest)
	if smallest > 0 && largest/smallest >= logFrom {
		y, ticks = logAxis(smallest, largest)
		note = strings.TrimSpace(note + " Logarithmic axis.")
	}
	p := newPlot(plotHeight, axis{max: end}, y, "seconds since the start")
	if warmup > 0 && warmup < end {
		p.band(0, warmup)
		note = strings.TrimSpace(note + " Shaded: warm-up, not part of the figures.")
	}
	if o := runs[0].Overload; o != nil && len(runs) == 1 {
		p.band(o.FromSeconds, min(o.FromSeconds+o.Seconds, end))
		note = strings.TrimSpace(note + " Shaded in the middle: the spike.")
	}
	p.yTicks(ticks, text)
	p.secondTicks(end)
	var names []string
	for i, run := range runs {
		p.line(style.of(run), lines[i])
		names = append(names, short(run))
	}
	return &chart{Title: title, Note: note, Plot: p, Label: fmt.Sprintf("%s: %s. Largest value %s.", title, strings.Join(names, ", "), text(largest))}
}

// eachInterval has a value of each interval in its middle, and the end of the last of these. A last interval that is shorter
// than the others is left out: the last answers of a run say nothing of its rate.
func eachInterval(run *Run, value func(*Point) (float64, bool)) (points []point, end float64) {
	for i := range run.Series {
		at := &run.Series[i]
		if i > 0 && i == len(run.Series)-1 && at.Seconds < run.Series[i-1].Seconds*0.999 {
			continue
		}
		if v, ok := value(at); ok && at.Seconds > 0 {
			points, end = append(points, point{at.TSeconds + at.Seconds/2, v}), max(end, at.TSeconds+at.Seconds)
		}
	}
	return points, end
}

// secondTicks labels an x axis of seconds.
func (p *plot) secondTicks(end float64) {
	_, ticks := linearAxis(end)
	for _, v := range ticks {
		if v <= end*(1+1e-9) {
			p.xTick(v, fmt.Sprintf("%g", math.Round(v*1e6)/1e6))
		}
	}
}

// axisCount labels counts and rates.
func axisCount(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", math.Round(v/1e4)/100)
	case v >= 1e4:
		return fmt.Sprintf("%gk", math.Round(v/10)/100)
	case v >= 10:
		return humanize.Comma(int64(math.Round(v)))
	}
	return fmt.Sprintf("%g", math.Round(v*100)/100)
}

// axisMillis labels milliseconds.
func axisMillis(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%g s", math.Round(v/10)/100)
	case v > 0 && v < 1:
		return fmt.Sprintf("%g µs", math.Round(v*1000))
	}
	return fmt.Sprintf("%g ms", math.Round(v*10)/10)
}
