package runner

import (
	"context"
	"sync"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

const (
	// sampleEvery is how often the stage and its database are looked at for the time series.
	sampleEvery = time.Second
	// stockEvery is how often the stock is read in a flash sale, which may be over in a tenth of a second. Fifty reads of
	// one row by its primary key are little work beside the orders, and take no lock that an order waits for.
	stockEvery = 20 * time.Millisecond
	// sampleTimeout bounds one look at the database.
	sampleTimeout = time.Second
	// minUsageSpan is the shortest time over which CPU time says something: the kernel counts it in steps of 10 ms.
	minUsageSpan = 100 * time.Millisecond
)

// usageSample is what the stage used in the time before a moment.
type usageSample struct {
	at   time.Time
	span time.Duration
	used report.Resources
}

// activitySample is what the stage's sessions did at a moment.
type activitySample struct {
	at time.Time
	database.Activity
}

// stockSample is the stock at a moment.
type stockSample struct {
	at   time.Time
	left int64
}

// samples are what the sampler saw, each kind in order of time.
type samples struct {
	usage    []usageSample
	activity []activitySample
	stock    []stockSample
}

// sampler looks at a stage and its database while a run goes on. Three goroutines do that, each with a slice of its own,
// so that a stage that is slow to answer delays neither of the others; stop waits for them.
type sampler struct {
	cfg    Config
	meters *meters
	cancel context.CancelFunc
	ended  sync.WaitGroup
	seen   samples
}

// startSampler takes the laps of m.
func startSampler(ctx context.Context, cfg Config, m *meters) *sampler {
	ctx, cancel := context.WithCancel(ctx)
	s := &sampler{cfg: cfg, meters: m, cancel: cancel}
	s.ended.Go(func() { s.watchUsage(ctx) })
	if cfg.DB != nil {
		s.ended.Go(func() { s.watchStock(ctx) })
	}
	if cfg.DB != nil && cfg.Target.Health != nil {
		s.ended.Go(func() { s.watchSessions(ctx) })
	}
	return s
}

// stop ends the sampling, waits for it, and returns what was seen. It must be called once.
func (s *sampler) stop() samples {
	s.cancel()
	s.ended.Wait()
	return s.seen
}

// watchUsage measures second after second, and the rest at the end.
func (s *sampler) watchUsage(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		pause(ctx, sampleEvery)
		used := s.meters.lap(ctx)
		if at := time.Now(); at.Sub(began) >= minUsageSpan {
			s.seen.usage = append(s.seen.usage, usageSample{at, at.Sub(began), used})
		}
	}
}

func (s *sampler) watchSessions(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, sampleEvery) {
		bounded, cancel := context.WithTimeout(ctx, sampleTimeout)
		activity, err := s.cfg.DB.Activity(bounded, s.cfg.Target.Stage())
		cancel()
		if err == nil { // a figure that is nice to have
			s.seen.activity = append(s.seen.activity, activitySample{time.Now(), activity})
		}
	}
}

// watchStock reads the stock, and once more at the end.
func (s *sampler) watchStock(ctx context.Context) {
	every := sampleEvery
	if s.cfg.Workload == attack.FlashSale {
		every = stockEvery
	}
	for ; ctx.Err() == nil; pause(ctx, every) {
		s.readStock(ctx)
	}
	s.readStock(context.WithoutCancel(ctx))
}

func (s *sampler) readStock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	if left, err := s.cfg.DB.StockLeft(ctx, s.cfg.ProductIDs); err == nil {
		s.seen.stock = append(s.seen.stock, stockSample{time.Now(), left})
	}
}

// pause returns after d, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
