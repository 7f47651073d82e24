package main

import (
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"example.com/flashsale/loadtest/attack"
)

const (
	// noWorkload is the --workload that leaves the sale out.
	noWorkload = "none"
	// capacityConnections is on how many connections the orders of a search are sent, at least.
	capacityConnections = 512
	// capacityLag is how late the generator may send in a search.
	capacityLag = 10 * time.Millisecond
)

// capacityFlags are those of compare that belong to --capacity.
type capacityFlags struct {
	Capacity        bool          `group:"Capacity" help:"Search for the highest rate that each stage holds with its own guard, and for how many daily users that is enough, beside the textbook's claims. Takes 1 to 4 min more for each stage. With --workload none: instead of the sale."`
	Slo             string        `group:"Capacity" default:"p99=250ms,failed=0.1%" help:"The objective, as that of 'loadtest capacity' (${default})."`
	MaxRate         float64       `group:"Capacity" default:"50000" help:"The highest rate to try, per second."`
	Precision       float64       `group:"Capacity" default:"10" placeholder:"PERCENT" help:"Search until held and missed are this close, in percent (${default})."`
	Confirm         int           `group:"Capacity" default:"1" help:"How often the rate that was found must hold once more."`
	SearchTime      time.Duration `group:"Capacity" default:"4m" help:"Begin no further probe of a stage after this time; its capacity is then one that is not confirmed (${default})."`
	RequestsPerUser float64       `group:"Capacity" default:"10" placeholder:"N" help:"For the daily users: orders that one user sends in a day. An assumption (${default})."`
	PeakFactor      float64       `group:"Capacity" default:"4" placeholder:"N" help:"For the daily users: rate of the busiest time ÷ mean rate of the day. An assumption (${default})."`
}

// AfterApply refuses what would be ignored. Kong calls it once the flags are read.
func (c *compareCmd) AfterApply(parsed *kong.Context) error {
	if c.Capacity {
		return nil
	}
	for _, part := range parsed.Path {
		if part.Flag != nil && part.Flag.Group != nil && part.Flag.Group.Key == "Capacity" {
			return usagef("--%s belongs to --capacity: add that, or leave it out", part.Flag.Name)
		}
	}
	if c.Workload == noWorkload {
		return usagef("--workload none leaves nothing to do: add --capacity")
	}
	return nil
}

// newFinder prepares the search that the flags ask for; nil: none.
func (c *comparison) newFinder() (*finder, error) {
	if !c.Capacity {
		return nil, nil
	}
	f := &finder{app: c.app, line: c.line, scouts: true, capacityCmd: &capacityCmd{
		Stage: c.Stages, Slo: c.Slo, Rate: 1, MinRate: 1, MaxRate: c.MaxRate, Precision: c.Precision, Confirm: c.Confirm,
		Arrivals: "poisson", Users: max(c.Users, capacityConnections), Duration: c.Duration, Warmup: c.Warmup, SearchTime: c.SearchTime,
		RequestsPerUser: c.RequestsPerUser, PeakFactor: c.PeakFactor, LagTolerance: capacityLag, UserLatency: c.UserLatency, DBConns: c.DBConns,
	}}
	return f, f.prepare()
}

// announceCapacity says beforehand how long the search will take.
func (c *comparison) announceCapacity() {
	if c.finder == nil {
		return
	}
	each := fmt.Sprintf("1 to 4 min for each of %d stages; none begins a probe after %v (--search-time)", len(c.stages), c.SearchTime)
	if len(c.stages) == 1 {
		each = fmt.Sprintf("1 to 4 min; it begins no probe after %v (--search-time)", c.SearchTime)
	}
	c.finder.say("The search for the capacity will take about %s.\n", each)
}

// capacities searches for the capacity of each stage in turn.
func (c *comparison) capacities() error {
	if c.finder == nil {
		return nil
	}
	c.finder.result = c.result
	for _, name := range c.stages {
		before := len(c.result.Runs)
		if err := c.finder.onStage(c.launcher, name, c.db); err != nil {
			return fmt.Errorf("%s, capacity: %w", name, err)
		}
		for i := range c.result.Runs[before:] {
			c.result.Runs[before+i].Settings.StageEnv = c.stageEnv
		}
	}
	return nil
}

// firstRate returns the rate to begin with: somewhat less than the stage accepts from users who order without pause.
// Where no such run was made, a short one is.
func (p *probing) firstRate() (float64, error) {
	const below, scoutFor, scoutUsers = 0.7, time.Second, 64
	var fastest float64
	for i := range p.result.Runs {
		run := &p.result.Runs[i]
		if run.Stage == p.found.Stage && run.Guard == p.found.Guard && run.Workload == string(attack.Sustained) && run.Generator == nil {
			fastest = max(fastest, run.OrdersPerSecond)
		}
	}
	if fastest == 0 {
		cfg := p.base(scoutFor)
		cfg.Users = scoutUsers
		run, err := p.run(cfg, "a first look")
		if err != nil {
			return 0, err
		}
		fastest = run.OrdersPerSecond
	}
	return min(max(below*fastest, p.limits.Min), p.limits.Max), nil
}
