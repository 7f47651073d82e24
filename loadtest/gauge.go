package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/ceiling"
	"example.com/flashsale/loadtest/live"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/runner"
)

// gauge measures ceilings: those of the database, and that of HTTP with a stage that sells nothing. Nobody else may use
// the machine meanwhile, or the figure is too low.
type gauge struct {
	launcher *launcher
	load     runner.Config // of HTTP; target and meter are set for each stage
	duration time.Duration // of one sample
	dbConns  int
	line     *progress

	bench   *ceiling.Bench // opened when it is needed: a stage must have made the tables
	session ceiling.Session
}

func newGauge(l *launcher, line *progress, load runner.Config, duration time.Duration, dbConns int) *gauge {
	load.Workload, load.Warmup, load.Duration, load.Progress = attack.Sustained, ceiling.Warmup, duration, line.update
	return &gauge{launcher: l, load: load, duration: duration, dbConns: dbConns, line: line, session: ceiling.Session{}}
}

// measure reads the ceilings one after another, in this order. HTTP's is that of the stage.
func (g *gauge) measure(stage string, kinds []ceiling.Kind) (ceiling.Readings, error) {
	readings := ceiling.Readings{}
	for _, kind := range kinds {
		rate, err := g.read(stage, kind)
		if err != nil {
			return nil, err
		}
		readings[kind] = rate
	}
	g.session.Add(readings)
	return readings, nil
}

func (g *gauge) read(stage string, kind ceiling.Kind) (float64, error) {
	if kind == ceiling.HTTP {
		return g.readHTTP(stage)
	}
	if g.bench == nil {
		bench, err := ceiling.Open(g.launcher.app.ctx, g.launcher.url, g.dbConns)
		if err != nil {
			return 0, err
		}
		g.bench = bench
	}
	g.line.detail(string(kind))
	return g.bench.Measure(g.launcher.app.ctx, kind, g.duration)
}

// readHTTP starts the stage with guard noop and otherwise the same settings, drives it as the run is driven, and looks at its
// processes as the run does: that costs something of the same cores.
func (g *gauge) readHTTP(stage string) (rate float64, err error) {
	ctx := g.launcher.app.ctx
	process, err := g.launcher.start(stage, guardNoOp)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, process.Stop(context.WithoutCancel(ctx))) }()
	load := g.load
	if load.Target, err = runner.Inspect(ctx, process.URL); err != nil {
		return 0, err
	}
	load.Meter = process.Measure
	g.line.begin(live.Info{Stage: stage, Guard: guardNoOp, Workload: string(ceiling.HTTP), Users: load.Users})
	run, err := runner.Run(ctx, load)
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", ceiling.HTTP, err)
	}
	if run.OrdersPerSecond == 0 {
		return 0, fmt.Errorf("measure %s: %s accepted none of %d requests", ceiling.HTTP, stage, run.Requests)
	}
	return run.OrdersPerSecond, nil
}

// ceilings summarises all that was read.
func (g *gauge) ceilings() report.Ceilings {
	return g.session.Ceilings(func(kind ceiling.Kind) int {
		if g.bench == nil {
			return 0
		}
		return g.bench.Connections(kind)
	})
}

// estimate says how long it takes to read these kinds, the first time or later.
func (g *gauge) estimate(kinds int, first bool) time.Duration {
	const start = time.Second // and stop of a stage
	each := ceiling.Warmup + g.duration
	total := start + time.Duration(kinds)*each
	if first {
		total += time.Duration(kinds-1) * ceiling.CalibrationTime(g.dbConns, g.duration)
	}
	return total
}

func (g *gauge) close() {
	if g.bench != nil {
		g.bench.Close()
	}
}
