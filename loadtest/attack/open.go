package attack

import (
	"context"
	"fmt"
	"iter"
	"math"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"example.com/flashsale/loadtest/schedule"
)

// The open model: one goroutine, the pacer, waits until a request is due and puts its
// time into a queue; the users, one connection each, take from it.
//
//	schedule ──► pacer: waits precisely ──► queue ──► the user that has been free longest
//
// A free user sends at once. While all are busy the queue grows, and each order's
// response time counts from the moment when it was due. What has waited for the
// client's time-out, or finds the queue full, is dropped: its buyer has gone.

const (
	// maxLateShare is the share of sends that may be late by the generator's own
	// fault before the run is void.
	maxLateShare = 0.01
	// maxCPUShare is the share of all processors from which on the generator itself
	// may be what is slow.
	maxCPUShare = 0.9
)

// Open is what only the open model knows of the measured window.
type Open struct {
	Plan    schedule.Plan
	Service *hdrhistogram.Histogram // accepted orders, from the real send to the answer, in microseconds
	Dropped int64                   // due, but not sent: no connection was free for the client's time-out
	Queued  int64                   // sent, but later than LagTolerance because no connection was free

	// How well the generator did. Lag is how late a request was sent although a
	// connection was free, in microseconds.
	Lag          *hdrhistogram.Histogram
	LagTolerance time.Duration
	Late         int64   // requests of which the lag was above LagTolerance
	LateShare    float64 // of all that were due
	CPUShare     float64 // of all processors, by this process; 0 where unknown
}

func newOpen(how recipe, t *tally) *Open {
	o := &Open{
		Plan: *how.Plan, Service: t.service, Dropped: t.dropped, Queued: t.queued,
		Lag: t.lag, LagTolerance: how.LagTolerance, Late: t.late, CPUShare: how.CPUShare,
	}
	if due := t.lag.TotalCount() + t.dropped; due > 0 {
		o.LateShare = float64(t.late) / float64(due)
	}
	return o
}

// Void returns in one sentence why the figures say nothing about the service, or ""
// when the generator kept the schedule.
func (o *Open) Void() string {
	switch {
	case o.LateShare > maxLateShare:
		return fmt.Sprintf("the generator sent %.1f %% of the requests more than %v late although a connection was free (%g %% are allowed); "+
			"use a lower rate, another machine than the stage's, or real-time priority (on Linux: chrt -r 5 loadtest …)", 100*o.LateShare, o.LagTolerance, 100*maxLateShare)
	case o.CPUShare > maxCPUShare:
		return fmt.Sprintf("the generator used %.0f %% of all processors (%.0f %% are allowed), so it may have been what is slow; "+
			"use a lower rate, or another machine than the stage's", 100*o.CPUShare, 100*maxCPUShare)
	}
	return ""
}

// Drops yields when each request was due that was dropped, warm-up included, in no
// order. There are none in the closed model.
func (r *Result) Drops() iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for _, log := range r.logs {
			for _, due := range log.dropped {
				if !yield(due) {
					return
				}
			}
		}
	}
}

// driveOpen is drive for the open model. An error means that nothing was sent.
func (c *crowd) driveOpen(ctx context.Context, start time.Time) error {
	alarm, err := newAlarm(ctx)
	if err != nil {
		return fmt.Errorf("cannot wait precisely: %w", err)
	}
	defer alarm.close()
	undo := wakeSooner()
	defer undo()
	// Nothing stays in the queue longer than the time-out, so this is all it can hold.
	room := math.Ceil(c.cfg.Schedule.Plan().MaxRate()*c.cfg.ClientTimeout.Seconds()) + float64(c.cfg.Users)
	queue := make(chan time.Duration, int(min(room, maxQueue)))
	p := &pacer{
		times: c.cfg.Schedule.Times(), now: func() time.Duration { return time.Since(start) },
		wait: alarm.wait, queue: queue, refused: newUserLog(0), dropped: &c.counters[0],
	}
	paced := make(chan struct{})
	before, begun := cpuTime(), time.Now()
	go func() {
		defer close(paced)
		p.run(ctx)
	}()
	c.drive(ctx, start, func(u *user) { u.serve(ctx, queue, p.now, c.cfg.ClientTimeout, c.cfg.LagTolerance) })
	<-paced
	c.refused = p.refused
	if took := time.Since(begun); took > 0 {
		c.cpu = (cpuTime() - before).Seconds() / took.Seconds() / float64(runtime.GOMAXPROCS(0))
	}
	return nil
}

// maxQueue bounds the memory of the queue.
const maxQueue = 1 << 22

// pacer puts every request into the queue when it is due. One goroutine owns it.
type pacer struct {
	times   iter.Seq[time.Duration]
	now     func() time.Duration      // since the start
	wait    func(time.Duration) error // fails when the context ends
	queue   chan<- time.Duration
	refused *userLog // what found the queue full
	dropped *counters
}

// run ends with the schedule or the context, and closes the queue.
func (p *pacer) run(ctx context.Context) {
	defer close(p.queue)
	for due := range p.times {
		if rest := due - p.now(); rest > 0 && p.wait(rest) != nil || ctx.Err() != nil {
			return
		}
		select {
		case p.queue <- due:
		default:
			p.refused.dropped = append(p.refused.dropped, due)
			p.dropped.dropped.Add(1)
		}
	}
}

// serve sends what is due until the queue is closed and empty. It returns when the last
// attempt has ended. What has waited for patience is dropped, and so is everything
// after the end of ctx.
func (u *user) serve(ctx context.Context, queue <-chan time.Duration, now func() time.Duration, patience, tolerance time.Duration) {
	free := time.Duration(0) // when this user's last attempt ended
	for due := range queue {
		at := now()
		if at-due > patience || ctx.Err() != nil {
			u.drop(due, at-max(due, free) > tolerance)
			continue
		}
		rec := record{key: u.keys.next(), product: uint32(u.behaviour.product()), quantity: u.quantity}
		if _, sent := u.sender.send(ctx, &rec); !sent {
			u.drop(due, false)
			continue
		}
		rec.waitedUS = micros(rec.sentAt - due)
		u.log.add(&rec)
		u.counters.byClass[rec.class].Add(1)
		u.spread.add(&rec)
		free = rec.endedAt()
	}
}

// drop counts a request that is not sent. late says that it is the generator's fault.
func (u *user) drop(due time.Duration, late bool) {
	u.log.dropped = append(u.log.dropped, due)
	if late {
		u.log.lateDrops = append(u.log.lateDrops, due)
	}
	u.counters.dropped.Add(1)
}

func micros(d time.Duration) uint32 {
	return uint32(min(max(d.Microseconds(), 0), math.MaxUint32))
}
