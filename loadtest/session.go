package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/runner"
)

// exitUsage is what a stage exits with when its configuration is wrong.
const exitUsage = 2

// drive starts a stage, runs the workloads of a session against it and stops it.
func (c *comparison) drive(s session, binary string) (err error) {
	process, err := c.start(s, binary)
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
		if err := c.runOne(target, process, workload); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) runOne(target runner.Target, process *stage.Process, workload attack.Workload) error {
	c.line.next(fmt.Sprintf("%s, guard %s, %s", target.Health.Stage, target.Health.Guard, workload))
	cfg := runner.Config{
		Target: target, DB: c.db, Workload: workload, Users: c.Users, Stock: c.Stock, Seed: c.result.Seed,
		Duration: c.Duration, Warmup: c.Warmup, Meter: process.Measure, Progress: c.line.update,
	}
	if workload == attack.Sustained {
		cfg.Stock = sustainedStock
	}
	if !target.Auditable() {
		cfg.DB, cfg.ProductIDs = nil, []int64{1}
		c.note(noopNote)
	}
	run, err := runner.Run(c.app.ctx, cfg)
	if err != nil {
		return fmt.Errorf("%s, guard %s, %s: %w", target.Health.Stage, target.Health.Guard, workload, err)
	}
	c.result.Runs = append(c.result.Runs, run)
	return nil
}

// note tells the reader something, once.
func (c *comparison) note(text string) {
	if !slices.Contains(c.result.Notes, text) {
		c.result.Notes = append(c.result.Notes, text)
	}
}

// start starts the stage of a session on a free port and waits until it is ready.
func (c *comparison) start(s session, binary string) (*stage.Process, error) {
	env := []string{
		fmt.Sprintf("DB_CONNS=%d", c.DBConns), "USER_LATENCY=" + c.UserLatency.String(),
		"LOG_LEVEL=warn", // what a stage writes costs time that the next one would not spend
	}
	if s.guard != "" {
		env = append(env, "GUARD="+s.guard)
	}
	spec := stage.Spec{Name: s.stage, Binary: binary, Env: env, DatabaseURL: c.url, RedisURL: c.services.Redis.URL}
	process, err := c.launch(spec)
	if err != nil && strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		process, err = c.launch(spec) // somebody took the port meanwhile: the next one is another
	}
	return process, err
}

// launch is stage.Start, with an error that tells a configuration that the stage refuses from a stage that fails.
func (c *comparison) launch(spec stage.Spec) (*stage.Process, error) {
	process, err := stage.Launch(spec)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.app.ctx, stageReadyTimeout)
	defer cancel()
	err = process.WaitReady(ctx)
	if err == nil {
		return process, nil
	}
	process.Kill()
	log := strings.TrimSpace(process.Log())
	if process.ExitCode() == exitUsage {
		return nil, usagef("%s", lastLine(log))
	}
	return nil, fmt.Errorf("start %s: %w\n%s", spec.Name, err, log)
}

func lastLine(s string) string {
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
