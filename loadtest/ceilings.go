package main

import (
	"cmp"
	"fmt"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/ceiling"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/runner"
)

// ceilingsCmd measures the ceilings alone.
type ceilingsCmd struct {
	Stage    string        `default:"5" placeholder:"S" help:"Stage whose HTTP is measured, with a guard that sells nothing (${default})."`
	Users    int           `default:"64" help:"Users; each waits for its answer before it sends the next request."`
	Duration time.Duration `default:"2s" help:"How long each sample measures."`
	Repeat   int           `default:"3" help:"Samples of each ceiling, taken in turn, because a machine drifts."`
	DBConns  int           `name:"db-conns" default:"8" help:"Database connections at most; the best number is searched for."`
	StageEnv []string      `placeholder:"KEY=VALUE" help:"Further settings of the stage, as in PROCESSES=1."`
	Out      string        `placeholder:"DIR" help:"Folder for the report (results/<time>)."`

	thresholdFlags
	outputFlags
}

// Help is the long help text.
func (*ceilingsCmd) Help() string {
	return `Orders per second mean little without what the machine could do. Four things are measured, each by itself: HTTP alone (the
stage answers, but sells nothing), and in the database alone, for one hot product: one statement per order, one
transaction per order, and 500 orders in one commit. Nothing else should run meanwhile.

A stage is compared with them by: loadtest compare --ceilings

A --threshold limits a median, as in 'http_noop_per_second>5000': http_noop_per_second, hot_row_single_per_second,
hot_row_transaction_per_second, hot_row_batch_per_second.`
}

// allCeilings in the order in which they are measured. HTTP comes first: its stage makes the tables.
var allCeilings = []ceiling.Kind{ceiling.HTTP, ceiling.Single, ceiling.Transaction, ceiling.Batch}

// Run measures and reports.
func (c *ceilingsCmd) Run(a *app) error {
	name, env, err := c.validate()
	if err != nil {
		return err
	}
	result := newResult(a, nil)
	out, err := openOutput(c.Out, result.StartedAt)
	if err != nil {
		return err
	}
	defer out.removeIfEmpty()
	setThresholds(result, c.Threshold)
	out.forms = c.Outputs
	line := newProgress(a, "ceilings", &liveFlags{Plain: true})
	if err := line.open(); err != nil {
		return err
	}
	err = onFreshDatabase(a, backing.Options{Embedded: true, Out: a.stderr}, func(services *backing.Services, url string) error {
		l := &launcher{app: a, services: services, url: url, env: append([]string{fmt.Sprintf("DB_CONNS=%d", c.DBConns), "LOG_LEVEL=warn"}, env.settings()...)}
		if err := l.build([]string{name}, line.say); err != nil {
			return err
		}
		if err := l.checkKnown(env); err != nil {
			return err
		}
		return interruptedOr(a.ctx, c.measure(l, line, name, result))
	})
	line.close("")
	if err != nil {
		return err
	}
	result.Notes = append(result.Notes, fmt.Sprintf("HTTP alone is that of %s with %d users%s; another stage or number of users has another.", name, c.Users, env.describe()))
	return out.finish(a, result)
}

// measure takes all samples and fills result in.
func (c *ceilingsCmd) measure(l *launcher, line *progress, name string, result *report.Result) error {
	db, err := connect(l.app.ctx, l.url)
	if err != nil {
		return err
	}
	defer db.Close()
	result.Backing.Postgres = describePostgres(l.app.ctx, db, l.services.Postgres.Source)
	load := runner.Config{Users: c.Users, ProductIDs: productIDs(1), Seed: result.Seed}
	g := newGauge(l, line, load, c.Duration, c.DBConns)
	defer g.close()
	for i := range c.Repeat {
		line.plan(g.estimate(len(allCeilings), i == 0))
	}
	for range c.Repeat {
		line.next("ceilings")
		if _, err := g.measure(name, allCeilings); err != nil {
			return err
		}
	}
	result.Ceilings = g.ceilings()
	return nil
}

func (c *ceilingsCmd) validate() (name string, env stageEnv, err error) {
	if err := cmp.Or(checkLoad(c.Users, nil, c.Duration, 0), checkThresholds(c.Threshold, report.OfCeilings), c.checkOutputs()); err != nil {
		return "", nil, err
	}
	switch {
	case c.Repeat < 1:
		return "", nil, usagef("--repeat %d: at least 1 is needed", c.Repeat)
	case c.DBConns < 1:
		return "", nil, usagef("--db-conns %d: at least 1 is needed", c.DBConns)
	}
	if env, err = parseStageEnv(c.StageEnv); err != nil {
		return "", nil, err
	}
	if name, err = stage.Resolve(c.Stage); err != nil {
		return "", nil, usagef("--stage: %w", err)
	}
	if _, err := stage.Root(); err != nil {
		return "", nil, usagef("%w", err)
	}
	return name, env, nil
}
