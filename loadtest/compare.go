package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

// guardNone protects nothing. It is what each stage's own guard is compared with.
const guardNone = "none"

// compareCmd drives stages in turn.
type compareCmd struct {
	Stages       []string      `default:"1,2,3,4,5" placeholder:"S" help:"Which stages (${default})."`
	Guards       []string      `placeholder:"G" help:"Drive each stage with these guards, both workloads with each, instead of none and its own."`
	Users        int           `default:"64" help:"Users; each waits for its answer before it orders again."`
	Stock        int64         `default:"100" help:"Units in the flash sale. The sustained workload never sells out."`
	Duration     time.Duration `default:"5s" help:"How long a sustained run measures, and how long a flash sale may take."`
	Warmup       time.Duration `default:"1s" help:"Before the measurement, sustained only."`
	UserLatency  time.Duration `default:"20ms" help:"Simulated latency of the look-up of a user; 0s for raw speed."`
	DBConns      int           `name:"db-conns" default:"8" help:"Database connections of a stage at most."`
	Repeat       int           `default:"1" help:"How often to go through all stages."`
	Seed         *uint64       `placeholder:"N" help:"Of every random choice (random)."`
	ExpectBroken bool          `help:"Fail when a broken guard passes in all of its runs."`
	Out          string        `placeholder:"DIR" help:"Folder for result.json, report.md and report.html (results/<time>)."`
}

// Help is the long help text.
func (*compareCmd) Help() string {
	return `Each stage runs the flash sale (few units, all users at once) with guard none and with its own guard, and then the
sustained workload with its own guard. Databases are found or started by themselves. That a broken guard oversells is
expected, and no failure.`
}

// comparison is a compareCmd at work.
type comparison struct {
	*compareCmd
	app      *app
	stages   []string
	services *backing.Services
	url      string // of the database
	db       *database.DB
	line     *progress
	result   *report.Result
}

// Run compares and reports. What has run when it fails or is interrupted is reported too.
func (c *compareCmd) Run(a *app) error {
	stages, err := c.validate()
	if err != nil {
		return err
	}
	result := newResult(a, c.Seed)
	result.ExpectBroken = c.ExpectBroken
	out, err := openOutput(c.Out, result.StartedAt)
	if err != nil {
		return err
	}
	defer out.removeIfEmpty()
	all := &comparison{compareCmd: c, app: a, stages: stages, line: newProgress(a.stderr), result: result}
	err = all.withServices()
	all.line.clear()
	if len(result.Runs) == 0 && err != nil {
		return err
	}
	if err != nil {
		result.Incomplete = true
		result.Notes = append(result.Notes, fmt.Sprintf("Not complete: %v.", firstLine(err)))
	}
	// What failed explains the exit code better than what the audits say.
	if reported := out.finish(a, result); err == nil {
		err = reported
	}
	return err
}

func (c *compareCmd) validate() (stages []string, err error) {
	if err := checkLoad(c.Users, &c.Stock, c.Duration, c.Warmup); err != nil {
		return nil, err
	}
	switch {
	case c.UserLatency < 0:
		return nil, usagef("--user-latency %v: it cannot be negative", c.UserLatency)
	case c.DBConns < 1:
		return nil, usagef("--db-conns %d: at least 1 is needed", c.DBConns)
	case c.Repeat < 1:
		return nil, usagef("--repeat %d: at least 1 is needed", c.Repeat)
	}
	for _, short := range c.Stages {
		name, err := stage.Resolve(short)
		if err != nil {
			return nil, usagef("--stages: %w", err)
		}
		stages = append(stages, name)
	}
	if _, err := stage.Root(); err != nil {
		return nil, usagef("%w", err)
	}
	return stages, nil
}

// withServices runs everything on one fresh database and cleans up, whatever happens.
func (c *comparison) withServices() (err error) {
	c.services, err = startServices(c.app, backing.Options{Redis: true, Embedded: true, Out: c.app.stderr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.services.Close()) }()
	url, drop, err := backing.NewDatabase(c.app.ctx, c.services.Postgres.URL)
	if err != nil {
		return interruptedOr(c.app.ctx, err)
	}
	defer func() { err = errors.Join(err, drop(context.WithoutCancel(c.app.ctx))) }()
	c.url = url
	c.db, err = connect(c.app.ctx, url)
	if err != nil {
		return err
	}
	defer c.db.Close()
	c.result.Backing.Postgres = describePostgres(c.app.ctx, c.db, c.services.Postgres.Source)
	c.result.Backing.Redis = &report.Redis{Source: c.services.Redis.Source, Version: c.services.Redis.Version}
	return c.allSessions()
}

// allSessions builds the stages and then starts and drives them in turn.
func (c *comparison) allSessions() error {
	binaries := map[string]string{}
	for i, name := range c.stages {
		c.line.say(fmt.Sprintf("building %s (%d of %d)", name, i+1, len(c.stages)))
		binary, err := stage.Build(c.app.ctx, name, stage.BuildOptions{})
		if err != nil {
			return interruptedOr(c.app.ctx, err)
		}
		binaries[name] = binary
	}
	if err := c.tryGuards(binaries[c.stages[0]]); err != nil {
		return interruptedOr(c.app.ctx, err)
	}
	sessions := c.plan()
	for _, s := range sessions {
		c.line.plan(s.estimate(c.compareCmd)...)
	}
	for _, s := range sessions {
		if err := c.drive(s, binaries[s.stage]); err != nil {
			return interruptedOr(c.app.ctx, err)
		}
	}
	return nil
}

// tryGuards starts the first stage once with each guard that the user named. Only a stage knows the guards that there
// are, and a wrong name should cost no more than a moment.
func (c *comparison) tryGuards(binary string) error {
	for _, guard := range c.Guards {
		process, err := c.start(session{stage: c.stages[0], guard: guard}, binary)
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
	both := []attack.Workload{attack.FlashSale, attack.Sustained}
	var sessions []session
	for range c.Repeat {
		for _, name := range c.stages {
			for _, guard := range c.Guards {
				sessions = append(sessions, session{name, guard, both})
			}
			if len(c.Guards) == 0 {
				sessions = append(sessions, session{name, guardNone, both[:1]}, session{name, "", both})
			}
		}
	}
	return sessions
}

// estimate says how long each run of a session will take, for the progress line.
func (s session) estimate(c *compareCmd) []time.Duration {
	const start, settle = time.Second, time.Second
	var steps []time.Duration
	for _, workload := range s.workloads {
		if workload == attack.FlashSale {
			steps = append(steps, start+settle+min(c.Duration, 3*time.Second))
		} else {
			steps = append(steps, settle+c.Warmup+c.Duration)
		}
	}
	return steps
}
