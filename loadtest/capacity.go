package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/capacity"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/runner"
	"example.com/flashsale/loadtest/schedule"
)

// capacityCmd searches for the capacity of one target, or of stages that it starts.
type capacityCmd struct {
	Target          string        `placeholder:"URL" help:"Base URL of a service that runs already (http://127.0.0.1:8080, unless there is a --stage)."`
	Stage           []string      `placeholder:"S" help:"Start these stages in turn, with services of their own, and search for the capacity of each: 1 to 5, or names."`
	Slo             string        `default:"p99=50ms,failed=0.1%" help:"The objective: bounds for mean, p50, p90, p99, p99.9 or max of the response time, and for the share of orders that were due and not accepted, for whatever reason (${default})."`
	Rate            float64       `default:"50" help:"The first rate to try, in orders per second. It is doubled or halved from there."`
	MinRate         float64       `default:"1" help:"The lowest rate to try."`
	MaxRate         float64       `default:"50000" help:"The highest rate to try."`
	Precision       float64       `default:"5" placeholder:"PERCENT" help:"Search until the highest rate that holds and the lowest that does not are this close, in percent (${default})."`
	Confirm         int           `default:"1" help:"How often the rate that was found must hold once more."`
	SearchTime      time.Duration `placeholder:"D" help:"Begin no further probe after this time; the capacity is then one that is not confirmed (no limit)."`
	Arrivals        string        `enum:"constant,poisson" default:"poisson" help:"poisson: orders come at random, as independent buyers come; constant: evenly."`
	Users           int           `default:"512" help:"Connections to send the orders on."`
	Duration        time.Duration `default:"5s" help:"How long to measure each rate at least; low rates take longer, up to 1 min, until there are orders enough for the objective."`
	Warmup          time.Duration `default:"1s" help:"Before each measurement, at the same rate."`
	RequestsPerUser float64       `default:"10" placeholder:"N" help:"For the daily users: orders that one user sends in a day. An assumption (${default})."`
	PeakFactor      float64       `default:"4" placeholder:"N" help:"For the daily users: rate of the busiest time ÷ mean rate of the day. An assumption (${default}: 80 % of the orders in 20 % of the day)."`
	LagTolerance    time.Duration `default:"10ms" help:"How late the generator may send although a connection is free. A probe with more than 1 % later ones is void."`
	DatabaseURL     string        `placeholder:"URL" help:"Database of the target. Otherwise: DATABASE_URL, then that of a running 'loadtest serve'."`
	NoAudit         bool          `help:"Do not touch the database: only measure. Needs --product."`
	Product         []int64       `placeholder:"ID" help:"With --no-audit: products to order, which the target has."`
	UserLatency     time.Duration `default:"20ms" help:"With --stage: simulated latency of the look-up of a user; 0s for raw speed."`
	DBConns         int           `name:"db-conns" default:"8" help:"With --stage: database connections at most."`
	Seed            *uint64       `placeholder:"N" help:"Of every random choice (random)."`
	Out             string        `placeholder:"DIR" help:"Folder for the report (results/<time>)."`

	thresholdFlags
	outputFlags
	liveFlags
}

// Help is the long help text.
func (*capacityCmd) Help() string {
	return `Orders come at a given rate, whether or not earlier ones were answered. The rate is doubled while the objective is met
(or halved until it is), then the bracket between held and missed is halved until it is narrow, and the result must hold
once more. Each probe is printed. From the rate follows:

  daily users = rate × 86,400 s ÷ (requests per user and day × peak factor)

A --threshold limits the rate that was found, as in 'rate_per_second>500', the 'supported_daily_users', or the run that
confirmed it, by the metrics of 'loadtest run'.

Exit code 4 when not even the lowest rate holds or a threshold is missed, 5 when the generator was what could not.`
}

// finder is a capacityCmd at work.
type finder struct {
	*capacityCmd
	app       *app
	stages    []string
	objective capacity.Objective
	limits    capacity.Limits
	demand    capacity.Demand
	scouts    bool // the first rate follows from what the target does, not from --rate
	line      *progress
	result    *report.Result
}

// Run searches and reports.
func (c *capacityCmd) Run(a *app) error {
	f := &finder{capacityCmd: c, app: a}
	if err := cmp.Or(checkThresholds(c.Threshold, report.OfRuns, report.OfCapacities), c.checkOutputs()); err != nil {
		return err
	}
	if err := f.prepare(); err != nil {
		return err
	}
	f.line, f.result = newProgress(a, "capacity", &c.liveFlags), newResult(a, c.Seed)
	out, err := openOutput(c.Out, f.result.StartedAt)
	if err != nil {
		return err
	}
	defer out.removeIfEmpty()
	setThresholds(f.result, c.Threshold)
	out.forms = c.Outputs
	if err := f.line.open(); err != nil {
		return err
	}
	if len(f.stages) > 0 {
		err = onFreshDatabase(a, backing.Options{Redis: true, Embedded: true, Out: f.line.above(a.stderr)}, f.onServices)
	} else {
		err = f.onTarget()
	}
	f.line.close(outcome(f.result, err))
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	return out.finish(a, f.result)
}

// prepare checks the command line.
func (f *finder) prepare() (err error) {
	if f.objective, err = capacity.ParseObjective(f.Slo); err != nil {
		return usagef("--slo: %w", err)
	}
	f.limits = capacity.Limits{Start: f.Rate, Min: f.MinRate, Max: f.MaxRate, Precision: f.Precision / 100, Confirmations: f.Confirm}
	f.demand = capacity.Demand{RequestsPerUser: f.RequestsPerUser, PeakFactor: f.PeakFactor}
	if err := errors.Join(f.limits.Validate(), f.demand.Validate()); err != nil {
		return usagef("%s", oneLine(err))
	}
	if err := errors.Join(checkLoad(f.Users, nil, f.Duration, f.Warmup), f.checkLive()); err != nil {
		return err
	}
	switch {
	case f.Confirm < 1:
		return usagef("--confirm %d: at least 1 is needed", f.Confirm)
	case f.SearchTime < 0:
		return usagef("--search-time %v: it cannot be negative", f.SearchTime)
	case f.MaxRate > schedule.MaxRate:
		return usagef("--max-rate %g: at most %d", f.MaxRate, schedule.MaxRate)
	case f.LagTolerance <= 0:
		return usagef("--lag-tolerance %v: it must be positive, as in 10ms", f.LagTolerance)
	case f.NoAudit != (len(f.Product) > 0):
		return usagef("--no-audit and --product ID belong together")
	}
	return f.prepareStages()
}

func (f *finder) prepareStages() error {
	switch {
	case len(f.Stage) == 0:
		if f.Target == "" {
			f.Target = "http://127.0.0.1:8080"
		}
		return nil
	case f.Target != "" || f.DatabaseURL != "" || f.NoAudit:
		return usagef("--stage starts services of its own: leave out --target, --database-url and --no-audit")
	case f.UserLatency < 0 || f.DBConns < 1:
		return usagef("--user-latency must not be negative, and --db-conns must be at least 1")
	}
	for _, short := range f.Stage {
		name, err := stage.Resolve(short)
		if err != nil {
			return usagef("--stage: %w", err)
		}
		f.stages = append(f.stages, name)
	}
	if _, err := stage.Root(); err != nil {
		return usagef("%w", err)
	}
	return nil
}

// onTarget searches for the capacity of a service that runs already.
func (f *finder) onTarget() error {
	target, err := runner.Inspect(f.app.ctx, f.Target)
	if err != nil {
		return err
	}
	meter := runner.LocalMeter(f.app.ctx, target)
	if f.NoAudit || !target.Auditable() {
		if !target.Auditable() {
			f.result.Notes = append(f.result.Notes, noopNote)
		}
		return f.search(target, nil, meter)
	}
	url, source, err := findDatabase(f.app, f.DatabaseURL)
	if err != nil {
		return err
	}
	db, err := connect(f.app.ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	f.result.Backing.Postgres = describePostgres(f.app.ctx, db, source)
	return f.search(target, db, meter)
}

// onServices starts the stages in turn and searches for the capacity of each.
func (f *finder) onServices(services *backing.Services, url string) error {
	l := &launcher{app: f.app, services: services, url: url, env: []string{
		fmt.Sprintf("DB_CONNS=%d", f.DBConns), "USER_LATENCY=" + f.UserLatency.String(), "LOG_LEVEL=warn",
	}}
	if err := l.build(f.stages, f.line.say); err != nil {
		return err
	}
	db, err := connect(f.app.ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	f.result.Backing.Postgres = describePostgres(f.app.ctx, db, services.Postgres.Source)
	f.result.Backing.Redis = &report.Redis{Source: services.Redis.Source, Version: services.Redis.Version}
	for _, name := range f.stages {
		if err := f.onStage(l, name, db); err != nil {
			return err
		}
	}
	return nil
}

func (f *finder) onStage(l *launcher, name string, db *database.DB) (err error) {
	process, err := l.start(name, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, process.Stop(context.WithoutCancel(f.app.ctx))) }()
	target, err := runner.Inspect(f.app.ctx, process.URL)
	if err != nil {
		return err
	}
	return f.search(target, db, process.Measure)
}
