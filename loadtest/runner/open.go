package runner

import (
	"cmp"

	"github.com/HdrHistogram/hdrhistogram-go"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/overload"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/schedule"
)

// describeOpen adds what only the open model has.
func describeOpen(run *report.Run, result *attack.Result) {
	open, plan := result.Open, result.Open.Plan
	run.Settings.RatePerSecond = new(plan.Rate)
	run.Settings.Profile = report.Text(cmp.Or(plan.Profile, schedule.Constant))
	run.Settings.Arrivals = report.Text(cmp.Or(plan.Arrivals, schedule.Even))
	if plan.Peak > 0 {
		run.Settings.PeakPerSecond = new(plan.Peak)
	}
	run.ServiceTime = new(report.Latency(attack.Summarize(open.Service)))
	run.Dropped = new(open.Dropped)
	run.VoidReason = report.Text(open.Void())
	run.Generator = describeGenerator(open)
	if from, to := plan.SpikeWindow(); to > from {
		span := overload.Span{Measured: plan.Warmup, From: from, To: to, End: plan.Warmup + plan.Duration}
		run.Overload = new(overload.Measure(span, result.Outcomes(), result.Drops(), result.Patience))
	}
}

func describeGenerator(open *attack.Open) *report.Generator {
	g := &report.Generator{
		LagToleranceMS: milliseconds(open.LagTolerance.Microseconds()), Late: open.Late, LateShare: open.LateShare, Queued: open.Queued,
	}
	if open.Lag.TotalCount() > 0 {
		g.LagP50MS, g.LagP999MS, g.LagMaxMS = quantile(open.Lag, 50), quantile(open.Lag, 99.9), quantile(open.Lag, 100)
	}
	if open.CPUShare > 0 {
		g.CPUShare = new(open.CPUShare)
	}
	return g
}

func quantile(h *hdrhistogram.Histogram, percent float64) *float64 {
	return new(milliseconds(h.ValueAtQuantile(percent)))
}

func milliseconds(us int64) float64 { return float64(us) / 1000 }
