package live

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
)

const (
	// maxPoints bounds the time series: a minute in steps of a quarter of a second.
	maxPoints = 240
	// maxFinished bounds the runs that are remembered.
	maxFinished = 100
	// minCountP99 is how many orders an interval needs so that one of them is above its p99.
	minCountP99 = 100
)

// Board is told what a command does and knows its state. Its methods do not block and may be called concurrently.
type Board struct {
	mu       sync.Mutex
	now      func() time.Time
	plan     plan
	title    string
	headline string
	detail   string
	run      *run
	finished []Finished
	over     bool
	outcome  string
}

// run is a Run with what it is computed from.
type run struct {
	Run
	last attack.Progress
	seen database.Stock
	any  bool // seen is known
}

// NewBoard returns an empty board for a command.
func NewBoard(title string) *Board { return &Board{title: title, now: time.Now} }

// Plan adds steps and what they are expected to take.
func (b *Board) Plan(steps ...time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plan.steps = append(b.plan.steps, steps...)
}

// Say shows what goes on before the first step.
func (b *Board) Say(headline string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.headline = headline
}

// Next ends a step and begins another, which must have been planned.
func (b *Board) Next(label string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plan.next(label, b.now())
	b.headline, b.detail, b.run = "", "", nil
}

// Skip leaves the next step out.
func (b *Board) Skip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plan.skip()
}

// Detail shows what a step does that is no run.
func (b *Board) Detail(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.detail, b.run = what, nil
}

// Begin makes the step a run.
func (b *Board) Begin(info Info) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.run = &run{Run: Run{Info: info}}
}

// Progress shows how far the run is. It ignores what comes when there is none.
func (b *Board) Progress(p attack.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run != nil {
		b.run.progress(p)
	}
}

func (r *run) progress(p attack.Progress) {
	span := (p.Elapsed - r.last.Elapsed).Seconds()
	if span > 0 {
		point := Point{Seconds: span, OrdersPerSecond: float64(p.Accepted-r.last.Accepted) / span, P99MS: p99(p.Response)}
		if len(r.Points) == maxPoints {
			r.Points = slices.Delete(r.Points, 0, 1)
		}
		r.Points = append(r.Points, point)
		r.OrdersPerSecond, r.QPS = point.OrdersPerSecond, p.PerSecond
		if point.P99MS != nil {
			r.P99MS = point.P99MS
		}
	}
	r.ElapsedSeconds, r.DurationSeconds = p.Elapsed.Seconds(), p.Duration.Seconds()
	r.Accepted, r.Replayed, r.Rejected, r.Failed, r.Unknown = p.Accepted, p.Replayed, p.Rejected, p.Failed, p.Unknown
	if r.Open {
		r.Dropped = new(p.Dropped)
	}
	r.Auditing = p.Users == 0
	r.last = p
}

// p99 returns the p99 in milliseconds, or the longest where there are too few.
func p99(s attack.Spread) *float64 {
	n := s.Count()
	if n == 0 {
		return nil
	}
	q := 0.99
	if n < minCountP99 {
		q = 1
	}
	return new(float64(s.Quantile(q).Microseconds()) / 1000)
}

// Stock shows what the database says of the run's goods.
func (b *Board) Stock(seen database.Stock) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run != nil {
		b.run.seen, b.run.any = seen, true
	}
}

// stock puts together what the buyers and the database know. An order has one unit.
func (r *run) stock() *Stock {
	if r.Products == 0 {
		return nil
	}
	s := &Stock{Initial: r.Units, Promised: r.Accepted, Oversold: max(r.Accepted-r.Units, r.seen.Oversold, 0)}
	if r.any {
		s.Left = new(r.seen.Left)
	}
	if r.seen.Counted {
		s.Sold = new(r.seen.Sold)
	}
	return s
}

// End replaces the run by what came of it.
func (b *Board) End(f Finished) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.run = nil
	if len(b.finished) == maxFinished {
		b.finished = slices.Delete(b.finished, 0, 1)
	}
	b.finished = append(b.finished, f)
}

// Over says that all has ended, and how.
func (b *Board) Over(outcome string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over, b.outcome, b.run, b.headline = true, outcome, nil, ""
}

// State returns what is to be seen now.
func (b *Board) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := State{
		Title: b.title, Headline: b.headline, Step: b.plan.at, Steps: len(b.plan.steps), Label: b.plan.label, Detail: b.detail,
		LeftSeconds: b.plan.left(b.now()).Seconds(), Finished: append([]Finished{}, b.finished...), Over: b.over, Outcome: b.outcome,
	}
	if b.over {
		s.LeftSeconds = 0
	}
	if b.run != nil {
		shown := b.run.Run
		shown.Points, shown.Stock = append([]Point{}, shown.Points...), b.run.stock()
		s.Run = &shown
	}
	return s
}

// Line returns the state in one line.
func (b *Board) Line() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.plan.at == 0 {
		return b.headline
	}
	what := ""
	switch {
	case b.run != nil && b.run.last.Elapsed > 0:
		what = fmt.Sprintf(": %d orders, %.0f answers/s", b.run.Accepted, b.run.QPS)
		if b.run.last.Dropped > 0 {
			what += fmt.Sprintf(", %d dropped", b.run.last.Dropped)
		}
	case b.detail != "":
		what = ": " + b.detail
	}
	return fmt.Sprintf("[%d/%d] %s%s, %v left", b.plan.at, len(b.plan.steps), b.plan.label, what, b.plan.left(b.now()).Round(time.Second))
}
