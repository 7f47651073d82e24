package attack

import (
	"sync/atomic"
	"time"
)

// observer reports the progress of a run to Config.Progress.
type observer struct {
	report   func(Progress)
	every    time.Duration
	duration time.Duration
	start    time.Time
	users    *atomic.Int64 // still at work
	counters []counters
	spreads  spreads

	lastRequests int64
	lastAt       time.Duration
	lastSpread   Spread
}

// run reports at every tick, and once more when done is closed.
func (o *observer) run(done <-chan struct{}) {
	if o.report == nil {
		return
	}
	ticker := time.NewTicker(o.every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			o.report(o.observe())
		case <-done:
			o.report(o.observe())
			return
		}
	}
}

// observe adds the users' counters up.
func (o *observer) observe() Progress {
	var sum [classes]int64
	var dropped int64
	for i := range o.counters {
		dropped += o.counters[i].dropped.Load()
		for class := range sum {
			sum[class] += o.counters[i].byClass[class].Load()
		}
	}
	p := Progress{
		Elapsed:  time.Since(o.start),
		Duration: o.duration,
		Users:    int(o.users.Load()),
		Accepted: sum[Accepted],
		Replayed: sum[Replayed],
		Rejected: sum[Rejected],
		Failed:   sum[Failed],
		Unknown:  sum[Unknown],
		Dropped:  dropped,
	}
	if span := p.Elapsed - o.lastAt; span > 0 {
		p.PerSecond = float64(p.Requests()-o.lastRequests) / span.Seconds()
	}
	spread := o.spreads.sum()
	p.Response = spread.since(o.lastSpread)
	o.lastRequests, o.lastAt, o.lastSpread = p.Requests(), p.Elapsed, spread
	return p
}
