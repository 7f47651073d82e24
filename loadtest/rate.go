package main

import (
	"time"

	"github.com/alecthomas/kong"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/runner"
	"example.com/flashsale/loadtest/schedule"
)

// rateFlags choose the open model.
type rateFlags struct {
	Rate         *float64      `group:"Open model" placeholder:"N" help:"Send N orders per second, whether or not earlier ones were answered; implies --workload sustained. --users is then how many connections there are to send them on."`
	Arrivals     string        `group:"Open model" enum:"constant,poisson" default:"constant" help:"constant: one order after every 1/N s; poisson: at random, as independent buyers come."`
	Profile      string        `group:"Open model" enum:"constant,ramp,step,spike,sine" default:"constant" help:"How the rate changes while it is measured; see above."`
	Peak         *float64      `group:"Open model" placeholder:"N" help:"Orders per second at the peak of a profile (spike: five times --rate)."`
	Steps        *int          `group:"Open model" placeholder:"N" help:"Profile step: number of stairs (2)."`
	SpikeFor     time.Duration `group:"Open model" placeholder:"D" help:"Profile spike: how long the peak lasts (a fifth of --duration)."`
	Period       time.Duration `group:"Open model" placeholder:"D" help:"Profile sine: from one trough to the next (--duration)."`
	LagTolerance time.Duration `group:"Open model" default:"10ms" help:"How late the generator may send although a connection is free. If it is later for more than 1 % of the orders, the run is void and the exit code 5."`
}

const rateHelp = `

With --rate orders come as customers do: at their own pace, not at that of the service (an open model). Response time
counts from the moment when an order was due, service time from the moment when it was sent. An order for which no
connection becomes free within --client-timeout is dropped and counted. The profiles, after a warm-up at --rate:
  constant  --rate all the time
  ramp      in a straight line from --rate to --peak
  step      from --rate to --peak in --steps stairs of equal length and height
  spike     --rate; from two fifths of the duration on --peak, for --spike-for; then --rate again: an overload, for
            which goodput, rejections and the time until it is over are reported
  sine      a wave that begins at --rate, its trough, and swings to --peak and back within each --period`

// schedule returns the schedule that the flags ask for, or nil for a closed loop.
func (f *rateFlags) schedule(duration, warmup time.Duration, seed uint64) (*schedule.Schedule, error) {
	if f.Rate == nil {
		if f.Peak != nil || f.Steps != nil || f.SpikeFor != 0 || f.Period != 0 || f.Profile != "constant" || f.Arrivals != "constant" {
			return nil, usagef("--arrivals, --profile and what belongs to it need a --rate")
		}
		return nil, nil
	}
	plan := schedule.Plan{
		Rate: *f.Rate, Profile: schedule.Profile(f.Profile), Arrivals: schedule.Arrivals(f.Arrivals),
		SpikeFor: f.SpikeFor, Period: f.Period, Warmup: warmup, Duration: duration, Seed: seed,
	}
	if f.Peak != nil {
		plan.Peak = *f.Peak
	}
	if f.Steps != nil {
		plan.Steps = *f.Steps
		if plan.Steps == 0 {
			return nil, usagef("--steps 0: use 2 or more")
		}
	}
	if f.LagTolerance <= 0 {
		return nil, usagef("--lag-tolerance %v: it must be positive, as in 10ms", f.LagTolerance)
	}
	s, err := schedule.New(plan)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return s, nil
}

// apply puts the schedule into a run's configuration.
func (f *rateFlags) apply(cfg *runner.Config) (err error) {
	cfg.Schedule, err = f.schedule(cfg.Duration, cfg.Warmup, cfg.Seed)
	cfg.Tolerance = f.LagTolerance
	return err
}

// AfterApply turns to the workload that has a rate. Kong calls it once the flags are read.
func (c *runCmd) AfterApply(parsed *kong.Context) error {
	if c.Rate == nil || c.Workload == string(attack.Sustained) {
		return nil
	}
	for _, part := range parsed.Path {
		if part.Flag != nil && part.Flag.Name == "workload" {
			return usagef("--workload %s has no --rate: there everybody comes at once", c.Workload)
		}
	}
	c.Workload = string(attack.Sustained)
	return nil
}
