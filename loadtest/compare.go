package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/ceiling"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/runner"
)

const (
	// guardNone protects nothing. It is what each stage's own guard is compared with.
	guardNone = "none"
	// bothWorkloads is the --workload that means all of them.
	bothWorkloads = "both"
	// maxProducts bounds --products: each of them is made and audited by itself.
	maxProducts = 100_000
	// ceilingSample is how long a ceiling is measured at most; a shorter run is judged by shorter samples.
	ceilingSample = 2 * time.Second
)

// compareCmd drives stages in turn.
type compareCmd struct {
	Stages       []string      `default:"1,2,3,4,5" placeholder:"S" help:"Which stages (${default})."`
	Guards       []string      `placeholder:"G" help:"Drive each stage with these guards, all workloads with each, instead of none and its own."`
	Workload     string        `enum:"flash-sale,sustained,both,none" default:"both" help:"flash-sale: everybody at once for a few units; sustained: orders without pause; or both; or none, with --capacity."`
	Users        int           `default:"64" help:"Users; each waits for its answer before it orders again."`
	Stock        int64         `default:"100" help:"Units in the flash sale. The sustained workload never sells out."`
	Products     int           `default:"1" help:"Products that the sustained workload orders; a flash sale has one."`
	Skew         float64       `default:"0" help:"How uneven they are asked for: exponent of Zipf's law, 0 is evenly."`
	Duration     time.Duration `default:"5s" help:"How long a sustained run measures, and how long a flash sale may take."`
	Warmup       time.Duration `default:"1s" help:"Before the measurement, sustained only."`
	Ceilings     bool          `help:"Before and after each sustained run, measure what this machine can do at best, and show how near the run came to it."`
	UserLatency  time.Duration `default:"20ms" help:"Simulated latency of the look-up of a user; 0s for raw speed."`
	DBConns      int           `name:"db-conns" default:"8" help:"Database connections of a stage at most."`
	StageEnv     []string      `placeholder:"KEY=VALUE" help:"Further settings of the stages, as in QUEUE_CAP=2000,PROCESSES=1."`
	Repeat       int           `default:"1" help:"How often to go through all stages."`
	Seed         *uint64       `placeholder:"N" help:"Of every random choice (random)."`
	ExpectBroken bool          `help:"Fail when a broken guard passes in all of its runs."`
	Out          string        `placeholder:"DIR" help:"Folder for the report (results/<time>)."`

	capacityFlags
	reportFlags
	liveFlags
}

// Help is the long help text.
func (*compareCmd) Help() string {
	return `Each stage runs the flash sale (few units, all users at once) with guard none and with its own guard, and then the
sustained workload with its own guard. Databases are found or started by themselves. That a broken guard oversells is
expected, and no failure.

How fast is each stage, of what is possible here? One to compare with in a minute, and one to rely on:

  loadtest compare --ceilings --user-latency 0s --stages 4,5 --workload sustained --duration 2s
  loadtest compare --ceilings --user-latency 0s --users 1024 --repeat 3

For how many daily users is each enough, and what does the textbook claim?

  loadtest compare --capacity --workload none

Every setting of a stage can be given with --stage-env; go run ./stage5-hybrid --help lists them.`
}

// comparison is a compareCmd at work.
type comparison struct {
	*compareCmd
	app      *app
	stages   []string
	stageEnv stageEnv
	launcher *launcher
	db       *database.DB
	gauge    *gauge  // nil: no ceilings are wanted
	finder   *finder // nil: no capacities are wanted
	line     *progress
	result   *report.Result
}

// Run compares and reports. What has run when it fails or is interrupted is reported too.
func (c *compareCmd) Run(a *app) error {
	all := &comparison{compareCmd: c, app: a, line: newProgress(a, "compare", &c.liveFlags)}
	if err := all.prepare(); err != nil {
		return err
	}
	all.result = newResult(a, c.Seed)
	all.result.ExpectBroken = c.ExpectBroken
	out, err := openOutput(c.Out, all.result.StartedAt)
	if err != nil {
		return err
	}
	defer out.removeIfEmpty()
	c.setReport(all.result, &out)
	if err := all.line.open(); err != nil {
		return err
	}
	err = onFreshDatabase(a, backing.Options{Redis: true, Embedded: true, Out: all.line.above(a.stderr)}, all.withServices)
	all.line.close(outcome(all.result, err))
	if len(all.result.Runs) == 0 && err != nil {
		return err
	}
	return out.finishAfter(err, a, all.result)
}

// prepare checks the command line.
func (c *comparison) prepare() (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	if c.stageEnv, err = parseStageEnv(c.StageEnv); err != nil {
		return err
	}
	for _, short := range c.Stages {
		name, err := stage.Resolve(short)
		if err != nil {
			return usagef("--stages: %w", err)
		}
		c.stages = append(c.stages, name)
	}
	if c.finder, err = c.newFinder(); err != nil {
		return err
	}
	if _, err := stage.Root(); err != nil {
		return usagef("%w", err)
	}
	return nil
}

func (c *compareCmd) validate() error {
	if err := checkLoad(c.Users, &c.Stock, c.Duration, c.Warmup); err != nil {
		return err
	}
	var others []report.Subject
	if c.Ceilings {
		others = append(others, report.OfCeilings)
	}
	if c.Capacity {
		others = append(others, report.OfCapacities)
	}
	if err := errors.Join(c.checkReport(others...), c.checkLive()); err != nil {
		return err
	}
	switch {
	case c.UserLatency < 0:
		return usagef("--user-latency %v: it cannot be negative", c.UserLatency)
	case c.DBConns < 1:
		return usagef("--db-conns %d: at least 1 is needed", c.DBConns)
	case c.Repeat < 1:
		return usagef("--repeat %d: at least 1 is needed", c.Repeat)
	case c.Products < 1 || c.Products > maxProducts:
		return usagef("--products %d: use 1 to %d", c.Products, maxProducts)
	case !(c.Skew >= 0) || math.IsInf(c.Skew, 1): // NaN is neither
		return usagef("--skew %g: use 0 or a positive number", c.Skew)
	case c.Skew > 0 && c.Products == 1:
		return usagef("--skew %g: with one product there is nothing to draw; add --products N", c.Skew)
	case c.Workload == string(attack.FlashSale) && c.Products > 1:
		return usagef("--products %d: a flash sale has one product; add --workload sustained", c.Products)
	case c.Workload == string(attack.FlashSale) && c.Ceilings:
		return usagef("--ceilings judges sustained runs only; leave --workload flash-sale out")
	case c.Workload == noWorkload && (c.Ceilings || len(c.Guards) > 0 || c.Repeat > 1):
		return usagef("--ceilings, --guards and --repeat belong to a workload; leave --workload none out")
	}
	return nil
}

// withServices does everything on services and a fresh database.
func (c *comparison) withServices(services *backing.Services, url string) (err error) {
	c.launcher = &launcher{app: c.app, services: services, url: url, env: c.settings()}
	c.db, err = connect(c.app.ctx, url)
	if err != nil {
		return err
	}
	defer c.db.Close()
	c.result.Backing.Postgres = describePostgres(c.app.ctx, c.db, services.Postgres.Source)
	c.result.Backing.Redis = &report.Redis{Source: services.Redis.Source, Version: services.Redis.Version}
	if c.Ceilings {
		load := runner.Config{Users: c.Users, ProductIDs: productIDs(c.Products), Skew: c.Skew, Seed: c.result.Seed}
		c.gauge = newGauge(c.launcher, c.line, load, min(c.Duration, ceilingSample), c.DBConns)
		defer c.gauge.close()
		defer func() { c.result.Ceilings = c.gauge.ceilings() }()
	}
	return c.allSessions()
}

// settings are those of every stage.
func (c *comparison) settings() []string {
	env := []string{
		fmt.Sprintf("DB_CONNS=%d", c.DBConns), "USER_LATENCY=" + c.UserLatency.String(),
		"LOG_LEVEL=warn", // what a stage writes costs time that the next one would not spend
	}
	return append(env, c.stageEnv.settings()...)
}

// allSessions builds the stages and then starts and drives them in turn.
func (c *comparison) allSessions() error {
	if err := c.launcher.build(c.stages, c.line.say); err != nil {
		return err
	}
	if err := c.launcher.checkKnown(c.stageEnv); err != nil {
		return err
	}
	if err := c.tryGuards(); err != nil {
		return interruptedOr(c.app.ctx, err)
	}
	c.announceCapacity()
	sessions := c.plan()
	for i, s := range sessions {
		c.line.plan(c.estimate(s, i == 0)...)
	}
	for _, s := range sessions {
		if err := c.drive(s); err != nil {
			return interruptedOr(c.app.ctx, err)
		}
	}
	return interruptedOr(c.app.ctx, c.capacities())
}

// tryGuards starts the first stage once with each guard that the user named. Only a stage knows the guards that there
// are, and a wrong name should cost no more than a moment.
func (c *comparison) tryGuards() error {
	for _, guard := range c.Guards {
		process, err := c.launcher.start(c.stages[0], guard)
		if err != nil {
			return err
		}
		if err := process.Stop(context.WithoutCancel(c.app.ctx)); err != nil {
			return err
		}
	}
	return nil
}

// session is one life of a stage: started with a guard, driven with some workloads, stopped.
type session struct {
	stage     string
	guard     string // empty: the stage's own
	workloads []attack.Workload
}

// plan lists the sessions. Repeats go through all of them again, rather than repeat each, because a machine drifts.
func (c *comparison) plan() []session {
	workloads := []attack.Workload{attack.FlashSale, attack.Sustained}
	if c.Workload == noWorkload {
		return nil
	}
	if c.Workload != bothWorkloads {
		workloads = []attack.Workload{attack.Workload(c.Workload)}
	}
	guards := c.Guards
	if len(guards) == 0 {
		guards = []string{""}
	}
	var sessions []session
	for range c.Repeat {
		for _, name := range c.stages {
			if len(c.Guards) == 0 && workloads[0] == attack.FlashSale {
				sessions = append(sessions, session{name, guardNone, workloads[:1]})
			}
			for _, guard := range guards {
				sessions = append(sessions, session{name, guard, workloads})
			}
		}
	}
	return sessions
}

// estimate says how long each run of a session will take, and what is measured around it, for the progress line.
func (c *comparison) estimate(s session, first bool) []time.Duration {
	const start, settle = time.Second, time.Second
	var steps []time.Duration
	for _, workload := range s.workloads {
		run := settle + c.Warmup + c.Duration
		switch {
		case workload == attack.FlashSale:
			steps = append(steps, start+settle+min(c.Duration, 3*time.Second))
		case c.gauge != nil:
			kinds := len(ceiling.Kinds(s.guard)) // of a stage's own guard: at most as many
			steps = append(steps, c.gauge.estimate(kinds, first), run, c.gauge.estimate(kinds, false))
		default:
			steps = append(steps, run)
		}
	}
	return steps
}
