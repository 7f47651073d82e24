package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/ceiling"
	"example.com/flashsale/loadtest/runner"
)

// drive starts a stage, runs the workloads of a session against it and stops it.
func (c *comparison) drive(s session) (err error) {
	process, err := c.launcher.start(s.stage, s.guard)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, process.Stop(context.WithoutCancel(c.app.ctx))) }()
	target, err := runner.Inspect(c.app.ctx, process.URL)
	if err != nil {
		return err
	}
	if target.Health == nil {
		return fmt.Errorf("%s at %s does not say who it is", s.stage, process.URL)
	}
	for _, workload := range s.workloads {
		if s.guard == "" && workload == attack.FlashSale && target.Health.Guard == guardNone {
			c.line.skip() // the session before was the same: none is this stage's own guard
			continue
		}
		run := c.runOne
		if c.gauge != nil && workload == attack.Sustained {
			run = c.runBetweenCeilings
		}
		if err := run(target, process, workload); err != nil {
			return fmt.Errorf("%s, guard %s, %s: %w", target.Health.Stage, target.Health.Guard, workload, err)
		}
	}
	return nil
}

// runBetweenCeilings measures the ceilings that judge a run before it and, the other way round, after it.
func (c *comparison) runBetweenCeilings(target runner.Target, process *stage.Process, workload attack.Workload) error {
	who := target.Health
	kinds := ceiling.Kinds(who.Guard)
	slices.Reverse(kinds) // the database's first: HTTP's gives it time to rest before the run
	c.line.next(fmt.Sprintf("%s, guard %s, ceilings before", who.Stage, who.Guard))
	before, err := c.gauge.measure(who.Stage, kinds)
	if err != nil {
		return err
	}
	if err := c.runOne(target, process, workload); err != nil {
		return err
	}
	slices.Reverse(kinds)
	c.line.next(fmt.Sprintf("%s, guard %s, ceilings after", who.Stage, who.Guard))
	after, err := c.gauge.measure(who.Stage, kinds)
	if err != nil {
		return err
	}
	ceiling.Judge(&c.result.Runs[len(c.result.Runs)-1], before, after)
	return nil
}

func (c *comparison) runOne(target runner.Target, process *stage.Process, workload attack.Workload) error {
	c.line.next(fmt.Sprintf("%s, guard %s, %s", target.Health.Stage, target.Health.Guard, workload))
	cfg := runner.Config{
		Target: target, DB: c.db, Workload: workload, Users: c.Users, Stock: c.Stock, Seed: c.result.Seed,
		Duration: c.Duration, Warmup: c.Warmup, Meter: process.Measure,
	}
	if workload == attack.Sustained {
		cfg.Stock, cfg.Products, cfg.Skew = sustainedStock, c.Products, c.Skew
	}
	if !target.Auditable() {
		cfg.DB, cfg.ProductIDs = nil, productIDs(max(cfg.Products, 1))
		c.note(noopNote)
	}
	run, err := c.line.drive(c.app.ctx, cfg)
	if err != nil {
		return err
	}
	run.Settings.StageEnv = c.stageEnv
	c.result.Runs = append(c.result.Runs, run)
	return nil
}

// note tells the reader something, once.
func (c *comparison) note(text string) {
	if !slices.Contains(c.result.Notes, text) {
		c.result.Notes = append(c.result.Notes, text)
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// productIDs are products that nobody has made, for a stage that sells nothing.
func productIDs(n int) []int64 {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(i + 1)
	}
	return ids
}
