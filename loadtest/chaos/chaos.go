// Package chaos inflicts faults on a stage with a master while buyers order from it, and audits what became of their
// orders. It is the proof of what docs/prefork.md promises.
//
//	for each fault:  stage starts ──► load at its pace ──► fault, again and again ──► load ends ──► audit ──► stage stops
//	                                        │                       │
//	                                        │                       └─ watch: /health, until all is as it should be again
//	                                        └─ buyers ask again, under the same key, until they know; each attempt is counted
//
// Every fault gets a stage, a product and buyers of its own, so that one cannot hide behind another.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

const (
	stock      = 1_000_000_000 // never sells out
	priceCents = 1999
	// share of the capacity that the load asks for: more than half, and so little that the rest of the workers can bear it.
	share = 0.6
	// leastShare of the capacity should be accepted while the fault lasts; else it is said why.
	leastShare = 0.5
	// sampleEvery is how often the database is asked for the stage's sessions.
	sampleEvery = 100 * time.Millisecond
)

// Config says what to inflict on what. All fields but Settings, Log and Progress are required.
type Config struct {
	Stage    string // name of a stage with a master
	Binary   string
	Database string // URL, for the stage
	Redis    string // likewise
	DB       *database.DB
	Settings []string      // of the stage, as KEY=VALUE
	Faults   []string      // names, in order; see Names
	Duration time.Duration // of each fault that can be repeated
	Users    int           // buyers
	Seed     uint64        // of every random choice but the keys
	// Lenient multiplies all limits on time. 1 is what is promised on a machine that has nothing else to do.
	Lenient  float64
	Log      io.Writer          // gets the end of the stage's log where a promise was not kept
	Progress func(fault string) // called before each fault and the measurement that belongs to it
}

// Run inflicts the faults one after the other and blocks until the last is audited. The error says that there is no
// result for one of them, and the results so far are returned with it; what a stage does wrong is no error.
func Run(ctx context.Context, cfg Config) ([]report.Fault, error) {
	var results []report.Fault
	for i, name := range cfg.Faults {
		f := faults[slices.Index(Names(), name)]
		if cfg.Progress != nil {
			cfg.Progress(name)
		}
		// Just before, because a machine's speed changes within minutes.
		capacity, err := measureCapacity(ctx, cfg)
		if err != nil {
			return results, fmt.Errorf("measure the capacity of %s: %w", cfg.Stage, err)
		}
		t := &trial{
			Config: cfg, fault: f, program: cfg.Binary, capacity: capacity, rng: rand.New(rand.NewPCG(cfg.Seed, uint64(i))),
			result: report.Fault{
				Stage: cfg.Stage, Fault: name, CapacityPerSecond: capacity, ByCode: map[string]int64{}, Problems: []string{}, Notes: []string{},
			},
		}
		if err := t.run(ctx); err != nil {
			return results, fmt.Errorf("%s, %s: %w", cfg.Stage, name, err)
		}
		if t.result.LoadShare() < leastShare {
			after, err := measureCapacity(ctx, cfg)
			if err != nil {
				return append(results, t.result), fmt.Errorf("measure the capacity of %s: %w", cfg.Stage, err)
			}
			t.result.CapacityAfterPerSecond = &after
			t.result.Notes = append(t.result.Notes, explainLoad(&t.result))
		}
		results = append(results, t.result)
	}
	return results, nil
}

// Validate returns an error that says in one sentence which fault there is not.
func Validate(names []string) error {
	for _, name := range names {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("there is no fault %q; choose from %s", name, strings.Join(Names(), ", "))
		}
	}
	return nil
}

// capacityFor is how long the capacity is measured, after capacityWarmup.
const (
	capacityWarmup = 300 * time.Millisecond
	capacityFor    = 1200 * time.Millisecond
	// CapacityTime is about how long that takes before each fault, with the start and the stop of the stage.
	CapacityTime = capacityWarmup + capacityFor + time.Second/2
)

// measureCapacity returns how many orders the stage accepts per second when the buyers keep it busy.
func measureCapacity(ctx context.Context, cfg Config) (float64, error) {
	t := &trial{Config: cfg, program: cfg.Binary}
	if err := t.open(ctx); err != nil {
		return 0, err
	}
	defer t.process.Kill()
	l, err := startLoad(ctx, t.process.URL, t.product, cfg.Users, 0, cfg.Seed)
	if err != nil {
		return 0, err
	}
	defer l.abandon()
	if !sleep(ctx, capacityWarmup) {
		return 0, context.Cause(ctx)
	}
	before, began := l.accepted.Load(), time.Now()
	if !sleep(ctx, capacityFor) {
		return 0, context.Cause(ctx)
	}
	capacity := float64(l.accepted.Load()-before) / time.Since(began).Seconds()
	if capacity == 0 {
		return 0, errors.New("it accepted no order")
	}
	l.finish()
	return capacity, t.process.Stop(context.WithoutCancel(ctx))
}

// explainLoad says why less than leastShare of the capacity was accepted. That is no broken promise: the buyers asked
// for more, and the audit is as strict.
func explainLoad(f *report.Fault) string {
	after := *f.CapacityAfterPerSecond
	text := fmt.Sprintf("the load was %.0f %% of what the stage could do just before (%.0f/s)", 100*f.LoadShare(), f.CapacityPerSecond)
	if f.LoadPerSecond >= leastShare*after {
		return fmt.Sprintf("%s; just after it could do %.0f/s, so the machine had become slower", text, after)
	}
	return fmt.Sprintf("%s, and just after (%.0f/s): the fault itself held orders up, and buyers who are late do not catch up", text, after)
}

// trial is one fault at work.
type trial struct {
	Config
	fault    fault
	program  string // what the stage executes
	capacity float64
	rng      *rand.Rand
	process  *stage.Process
	health   stage.Health // right after the start
	product  database.Product
	load     *load
	watch    *watch
	began    time.Time // of the fault
	result   report.Fault
}

// open starts the stage and makes the product.
func (t *trial) open(ctx context.Context) (err error) {
	t.process, err = stage.Start(ctx, stage.Spec{
		Name: t.Stage, Binary: t.program, DatabaseURL: t.Database, RedisURL: t.Redis,
		Env: slices.Concat(t.fault.settings(t.Config), t.Settings),
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			t.process.Kill()
		}
	}()
	if t.health, err = t.process.Health(ctx); err != nil {
		return err
	}
	if err := t.DB.EnsureUsers(ctx, int64(t.Users)); err != nil {
		return err
	}
	t.product, err = t.DB.NewProduct(ctx, "chaos "+t.fault.name, stock, priceCents)
	return err
}

// run is the life of a trial.
func (t *trial) run(ctx context.Context) error {
	if t.fault.replaces {
		remove, err := t.copyProgram()
		if err != nil {
			return err
		}
		defer remove()
	}
	if err := t.open(ctx); err != nil {
		return err
	}
	defer t.process.Kill() // does nothing to a stage that has ended
	t.watch = startWatch(ctx, t.process)
	defer t.watch.stop()
	sessions := t.DB.SampleConnections(ctx, t.Stage, sampleEvery)
	defer func() { _, _ = sessions.Stop() }()
	var err error
	if t.load, err = startLoad(ctx, t.process.URL, t.product, t.Users, share*t.capacity, t.Seed); err != nil {
		return err
	}
	defer t.load.abandon()
	t.began = time.Now()
	if err := t.fault.inflict(ctx, t); err != nil {
		return err
	}
	lasted := time.Since(t.load.start)
	if t.fault.ends {
		t.load.abandon()
	} else {
		t.load.finish()
	}
	if most, err := sessions.Stop(); err == nil {
		t.result.DBConnectionsMax = new(int64(most))
	}
	t.watch.stop()
	return t.conclude(ctx, lasted)
}

// conclude audits, stops the stage and judges.
func (t *trial) conclude(ctx context.Context, lasted time.Duration) error {
	r := &t.result
	r.Guard, r.DBConns = report.Text(t.health.Guard), t.health.DBConns
	t.load.account(r, lasted)
	checked, err := t.load.check(ctx, t.DB, t.Stage, t.product, r.Unknown > 0)
	if err != nil {
		return err
	}
	r.Audit = &checked
	if !t.fault.ends {
		if err := t.process.Stop(context.WithoutCancel(ctx)); err != nil {
			line, _, _ := strings.Cut(err.Error(), "\n")
			t.miss("afterwards it did not stop cleanly: %s", line)
		}
	}
	t.judge()
	if r.Verdict != string(audit.OK) && t.Log != nil {
		_, _ = fmt.Fprintf(t.Log, "the end of the log of %s, fault %s:\n%s\n", t.Stage, t.fault.name, t.process.Log())
	}
	return nil
}

// judge compares with what is promised of every fault.
func (t *trial) judge() {
	r := &t.result
	if r.Unanswered > 0 && !t.fault.ends {
		t.miss("%d orders have no answer in the end", r.Unanswered)
	}
	if r.Twice > 0 && t.fault.gentle {
		t.miss("%d orders needed more than one retry", r.Twice)
	}
	if r.DBConnectionsMax != nil && *r.DBConnectionsMax > int64(r.DBConns) && t.fault.gentle {
		t.miss("the database saw %d connections, and there may be %d", *r.DBConnectionsMax, r.DBConns)
	}
	if r.Times == 0 {
		t.miss("it was never inflicted")
	}
	switch {
	case r.Audit.Verdict != audit.OK:
		r.Verdict = string(r.Audit.Verdict)
	case len(r.Problems) > 0:
		r.Verdict = report.Missed
	default:
		r.Verdict = string(audit.OK)
	}
}

// miss notes a promise that was not kept.
func (t *trial) miss(format string, args ...any) {
	t.result.Problems = append(t.result.Problems, fmt.Sprintf(format, args...))
}

// recovered notes a time until all was as it should be again. The longest counts.
func (t *trial) recovered(d time.Duration) {
	if ms := milliseconds(d); t.result.RecoveryMS == nil || ms > *t.result.RecoveryMS {
		t.result.RecoveryMS = &ms
	}
}

// limit is a promised time, as far as this machine can be held to it.
func (t *trial) limit(d time.Duration) time.Duration { return time.Duration(float64(d) * t.Lenient) }

// lasts says whether the fault is to go on.
func (t *trial) lasts(ctx context.Context) bool {
	return ctx.Err() == nil && time.Since(t.began) < t.Duration
}
