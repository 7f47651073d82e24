package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/chaos"
	"example.com/flashsale/loadtest/report"
)

const (
	// shortDuration is how long a fault lasts with --short.
	shortDuration = 2 * time.Second
	// shortLenience is by how much the limits on time are longer with --short, which is for busy machines too.
	shortLenience = 20
)

// chaosStages are the stages that have a master.
var chaosStages = []string{"stage2-multiproc", "stage5-hybrid"}

// chaosCmd inflicts faults.
type chaosCmd struct {
	Stage    []string       `default:"2,5" placeholder:"S" help:"Which of the stages that have a master (${default})."`
	Faults   []string       `placeholder:"F" help:"Which faults, as listed above (all)."`
	Duration *time.Duration `placeholder:"D" help:"How long each fault is inflicted (20s, with --short 2s)."`
	Short    bool           `help:"Less than a minute per stage, and the limits on time are not judged strictly."`
	Users    int            `placeholder:"N" help:"Buyers; together they ask for 60 % of what the stage can do for so many (stage 2: 64, stage 5: 256, with --short 16)."`
	DBConns  int            `name:"db-conns" default:"8" help:"Database connections of the stage at most."`
	StageEnv []string       `placeholder:"KEY=VALUE" help:"Further settings of the stage, as in PROCESSES=4."`
	Seed     *uint64        `placeholder:"N" help:"Of every random choice (random)."`
	Out      string         `placeholder:"DIR" help:"Folder for the report (results/<time>)."`

	thresholdFlags
	outputFlags
	liveFlags
}

// Help is the long help text.
func (*chaosCmd) Help() string {
	return `Starts each stage anew for each fault, lets buyers order, inflicts the fault, and compares what the buyers know with the
database. A buyer who gets no answer asks again under the same key until it knows. The faults:
` + chaos.About() + `
A --threshold limits each fault, beyond what is promised: 'recovery<2s' (of the faults up to kill-master but recycle), 'longest_wait<1s', 'longest_gap<1s', shares of the
requests as in 'failed<1%', 'unknown<1%', 'retried<1%', and 'load_per_second>500'.

Exit code 3 when an order was lost, doubled or made up; 4 when all orders are right, but something else that is
promised, or a threshold, was not kept. docs/chaos.md explains the table.`
}

// chaosRun is a chaosCmd at work.
type chaosRun struct {
	*chaosCmd
	app    *app
	stages []string
	env    stageEnv
	result *report.Result
	line   *progress
	log    io.Writer // to the terminal, above the view
}

// Run inflicts and reports. What was inflicted when it fails or is interrupted is reported too.
func (c *chaosCmd) Run(a *app) error {
	all := &chaosRun{chaosCmd: c, app: a, result: newResult(a, c.Seed)}
	if err := all.prepare(); err != nil {
		return err
	}
	out, err := openOutput(c.Out, all.result.StartedAt)
	if err != nil {
		return err
	}
	defer out.removeIfEmpty()
	setThresholds(all.result, c.Threshold)
	out.forms = c.Outputs
	all.line = newProgress(a, "chaos", &c.liveFlags)
	if err := all.line.open(); err != nil {
		return err
	}
	all.log = all.line.above(a.stderr)
	err = onFreshDatabase(a, backing.Options{Redis: true, Embedded: true, Out: all.log}, all.withServices)
	all.line.close(all.outcome(err))
	if len(all.result.Faults) == 0 && err != nil {
		return err
	}
	return out.finishAfter(err, a, all.result)
}

// prepare checks the command line.
func (c *chaosRun) prepare() (err error) {
	if err := chaos.Validate(c.Faults); err != nil {
		return usagef("--faults: %w", err)
	}
	if len(c.Faults) == 0 {
		c.Faults = chaos.Names()
	}
	if err := cmp.Or(checkThresholds(c.Threshold, report.OfFaults), c.checkOutputs()); err != nil {
		return err
	}
	if err := c.checkRecovery(); err != nil {
		return err
	}
	if c.Duration == nil {
		c.Duration = new(20 * time.Second)
		if c.Short {
			*c.Duration = shortDuration
		}
	}
	if err := errors.Join(checkLoad(c.buyers(chaosStages[0]), nil, *c.Duration, 0), c.checkLive()); err != nil {
		return err
	}
	if c.DBConns < 1 {
		return usagef("--db-conns %d: at least 1 is needed", c.DBConns)
	}
	if c.env, err = parseStageEnv(c.StageEnv); err != nil {
		return err
	}
	for _, short := range c.Stage {
		name, err := stage.Resolve(short)
		if err != nil {
			return usagef("--stage: %w", err)
		}
		if !slices.Contains(chaosStages, name) {
			return usagef("--stage %s has no master; use one of %v", name, chaosStages)
		}
		c.stages = append(c.stages, name)
	}
	if _, err := stage.Root(); err != nil {
		return usagef("%w", err)
	}
	return nil
}

// checkRecovery refuses a limit of the recovery where no fault has one: it would judge nothing, and so pass.
func (c *chaosRun) checkRecovery() error {
	if slices.ContainsFunc(c.Faults, chaos.Recovers) {
		return nil
	}
	for _, text := range c.Threshold {
		if t, err := report.ParseThreshold(text, report.OfFaults); err == nil && t.Metric == report.Recovery {
			return usagef("--threshold %s: there is nothing to recover from after %s", text, strings.Join(c.Faults, " and "))
		}
	}
	return nil
}

// withServices inflicts all faults on all stages.
func (c *chaosRun) withServices(services *backing.Services, url string) error {
	launcher := &launcher{app: c.app, services: services, url: url}
	if err := launcher.build(c.stages, func(what string) { _, _ = fmt.Fprintln(c.log, what) }); err != nil {
		return err
	}
	if err := launcher.checkKnown(c.env); err != nil {
		return err
	}
	db, err := connect(c.app.ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	c.result.Backing.Postgres = describePostgres(c.app.ctx, db, services.Postgres.Source)
	c.line.plan(c.estimate()...)
	for _, name := range c.stages {
		if err := c.inflict(name, chaos.Config{
			Stage: name, Binary: launcher.binaries[name], Database: url, Redis: services.Redis.URL, DB: db,
		}); err != nil {
			return err
		}
	}
	return nil
}

func (c *chaosRun) inflict(name string, cfg chaos.Config) error {
	cfg.Settings = append(c.env.settings(), fmt.Sprintf("DB_CONNS=%d", c.DBConns))
	cfg.Faults, cfg.Duration, cfg.Users, cfg.Seed, cfg.Lenient = c.Faults, *c.Duration, c.buyers(name), c.result.Seed, 1
	if c.Short {
		cfg.Lenient = shortLenience
	}
	cfg.Log = c.log
	cfg.Progress = func(fault string) {
		_, _ = fmt.Fprintf(c.log, "%s: %s\n", name, fault)
		c.line.next(name + ", " + fault)
	}
	faults, err := chaos.Run(c.app.ctx, cfg)
	for i := range faults {
		faults[i].JudgeThresholds(c.result.Thresholds, chaos.Recovers(faults[i].Fault))
	}
	c.result.Faults = append(c.result.Faults, faults...)
	return interruptedOr(c.app.ctx, err)
}

// estimate says how long the steps will take: each fault on each stage, with the capacity that is measured before it.
func (c *chaosRun) estimate() []time.Duration {
	const around = 2 * time.Second // start, settle, audit, stop
	return slices.Repeat([]time.Duration{chaos.CapacityTime + *c.Duration + around}, len(c.stages)*len(c.Faults))
}

// outcome says in one sentence how it ended.
func (c *chaosRun) outcome(err error) string {
	if err != nil {
		return firstLine(err)
	}
	kept := 0
	for i := range c.result.Faults {
		if len(c.result.Faults[i].Problems) == 0 && !c.result.Faults[i].Lost() {
			kept++
		}
	}
	return fmt.Sprintf("%d of %d faults: all promises kept", kept, len(c.result.Faults))
}

// buyers returns how many there are: so many that the stage can show what it can do.
func (c *chaosCmd) buyers(name string) int {
	switch {
	case c.Users != 0:
		return c.Users
	case c.Short:
		return 16
	case name == chaosStages[0]:
		return 64
	default:
		return 256
	}
}
