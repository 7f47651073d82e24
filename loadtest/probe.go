package main

import (
	"cmp"
	"fmt"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/capacity"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/runner"
	"example.com/flashsale/loadtest/schedule"
)

const (
	// longestProbe bounds the time for which a slow service is measured until there are orders enough.
	longestProbe = time.Minute
	// spareOrders is how many more orders than needed are planned for, since some fail.
	spareOrders = 1.1
)

// probing is the search for the capacity of one target.
type probing struct {
	*finder
	target runner.Target
	db     *database.DB // nil: no audit
	meter  runner.Meter
	found  report.Capacity
	last   report.Run
	held   map[float64]report.Run // the last one that held, by its rate
	wrong  []report.Run           // those that the audit did not pass
}

// search finds the capacity of a target, and adds it to the result with the run that confirmed it.
func (f *finder) search(target runner.Target, db *database.DB, meter runner.Meter) error {
	p := &probing{finder: f, target: target, db: db, meter: meter, held: map[float64]report.Run{}, found: report.Capacity{
		Target: target.URL, Objective: f.objective.String(), RequestsPerUser: f.demand.RequestsPerUser, PeakFactor: f.demand.PeakFactor,
	}}
	if h := target.Health; h != nil {
		p.found.Stage, p.found.Guard = report.Text(h.Stage), report.Text(h.Guard)
	}
	p.say("%s: searching for the highest rate that holds %s (%s arrivals, %d connections)\n",
		cmp.Or(target.Stage(), target.URL), p.found.Objective, f.Arrivals, f.Users)
	limits, err := p.bounds()
	if err != nil {
		return err
	}
	limit, err := capacity.Search(limits, p.try)
	if err != nil {
		return err
	}
	p.conclude(limit)
	return nil
}

// bounds are the limits of this search.
func (p *probing) bounds() (limits capacity.Limits, err error) {
	limits = p.limits
	if p.SearchTime > 0 {
		began := time.Now()
		limits.Enough = func() bool { return time.Since(began) >= p.SearchTime }
	}
	if p.scouts {
		limits.Start, err = p.firstRate()
	}
	return limits, err
}

// say prints a line in the place of the progress.
func (f *finder) say(format string, args ...any) {
	_, _ = fmt.Fprintf(f.line.above(f.app.stdout), format, args...) // the report has it too
}

// try probes one rate.
func (p *probing) try(rate float64, phase capacity.Phase) (capacity.Verdict, error) {
	cfg, err := p.config(rate)
	if err != nil {
		return capacity.Void, err
	}
	run, err := p.run(cfg, fmt.Sprintf("%s at %.1f/s", phase, rate))
	if err != nil {
		return capacity.Void, err
	}
	verdict, why := p.judge(run)
	p.last = run
	if verdict == capacity.Held {
		p.held[rate] = run
	}
	p.record(run, rate, phase, verdict, why)
	return verdict, nil
}

// run drives the target once, and keeps what the audit does not pass.
func (p *probing) run(cfg runner.Config, what string) (report.Run, error) {
	p.line.plan(cfg.Warmup + cfg.Duration)
	p.line.next(what)
	run, err := p.line.drive(p.app.ctx, cfg)
	if err == nil && run.Audit != nil && run.Audit.Verdict != audit.OK {
		p.wrong = append(p.wrong, run)
	}
	return run, err
}

func (p *probing) config(rate float64) (runner.Config, error) {
	count := int(spareOrders * float64(p.objective.Orders()))
	duration := capacity.ProbeTime(rate, count, p.Duration, longestProbe)
	timetable, err := schedule.New(schedule.Plan{
		Rate: rate, Arrivals: schedule.Arrivals(p.Arrivals), Warmup: p.Warmup, Duration: duration, Seed: p.result.Seed,
	})
	cfg := p.base(duration)
	cfg.Schedule, cfg.Tolerance = timetable, p.LagTolerance
	return cfg, err
}

// base is a run without pause.
func (p *probing) base(duration time.Duration) runner.Config {
	cfg := runner.Config{
		Target: p.target, DB: p.db, ProductIDs: p.Product, Workload: attack.Sustained, Users: p.Users, Stock: sustainedStock, Seed: p.result.Seed,
		Duration: duration, Warmup: p.Warmup, Meter: p.meter,
	}
	if p.db == nil && len(cfg.ProductIDs) == 0 {
		cfg.ProductIDs = []int64{1} // guard noop does not look
	}
	return cfg
}

// judge says whether a run met the objective, and if not, why.
func (p *probing) judge(run report.Run) (capacity.Verdict, string) {
	lat := run.Latency
	held, why := p.objective.Judge(capacity.Figures{Failed: failedShare(run), LatencyMS: map[string]*float64{
		"mean": lat.Mean, "p50": lat.P50, "p90": lat.P90, "p99": lat.P99, "p99.9": lat.P999, "max": lat.Max,
	}})
	switch {
	case run.VoidReason != "":
		return capacity.Void, fmt.Sprintf("generator late for %.1f%% of the orders, %.0f%% of all CPUs", 100*run.Generator.LateShare, 100*known(run.Generator.CPUShare))
	case held:
		return capacity.Held, ""
	default:
		return capacity.Missed, why
	}
}

func known(share *float64) float64 {
	if share == nil {
		return 0
	}
	return *share
}

// failedShare is the share of the orders that were due and not accepted. The stock is endless and every key is new, so a
// refusal is no success here: a service that refuses everything is fast.
func failedShare(run report.Run) float64 {
	var dropped int64
	if run.Dropped != nil {
		dropped = *run.Dropped
	}
	due := run.Requests + dropped
	if due == 0 {
		return 1
	}
	return 1 - float64(run.Accepted)/float64(due)
}

// record keeps and prints a probe.
func (p *probing) record(run report.Run, rate float64, phase capacity.Phase, verdict capacity.Verdict, why string) {
	probe := report.Probe{
		Phase: string(phase), RatePerSecond: rate, Seconds: run.Settings.DurationSeconds, Verdict: verdict.String(), Why: report.Text(why),
		OrdersPerSecond: run.OrdersPerSecond, P50MS: run.Latency.P50, P99MS: run.Latency.P99, FailedShare: failedShare(run),
	}
	p.found.Probes = append(p.found.Probes, probe)
	if why != "" {
		why = ": " + why
	}
	p.say("  %-7s %9.1f/s  p50 %s  p99 %s  failed %.2f%%  %s%s\n", phase, rate, milliText(probe.P50MS), milliText(probe.P99MS), 100*probe.FailedShare, verdict, why)
}

func milliText(ms *float64) string {
	if ms == nil {
		return "       –"
	}
	return fmt.Sprintf("%6.1fms", *ms)
}

// conclude adds what was found to the result.
func (p *probing) conclude(limit capacity.Found) {
	p.found.RatePerSecond, p.found.Limited, p.found.Unfinished = limit.Rate, limit.Limited, limit.Unfinished
	if limit.Missed > 0 {
		p.found.MissedPerSecond = new(limit.Missed)
	}
	p.found.SupportedDailyUsers = p.demand.Users(limit.Rate)
	p.found.Formula = p.demand.Formula(limit.Rate)
	p.result.Capacities = append(p.result.Capacities, p.found)
	p.result.Runs = append(p.result.Runs, p.wrong...)
	run := p.last
	if limit.Rate > 0 {
		run = p.held[limit.Rate]
		run.SupportedDailyUsers = new(p.found.SupportedDailyUsers)
	}
	if run.Audit == nil || run.Audit.Verdict == audit.OK {
		p.result.Runs = append(p.result.Runs, run)
	}
}
