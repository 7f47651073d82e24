package runner

import (
	"context"
	"time"

	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

// sessionEvery is how often the stage's sessions are counted.
const sessionEvery = 200 * time.Millisecond

// meterEvery is how often a stage's processes are looked at. That costs some milliseconds of a core, in which a request
// may have to wait, so it is rare unless all may be over in a moment.
func (cfg Config) meterEvery() time.Duration {
	if cfg.Workload == attack.FlashSale {
		return 250 * time.Millisecond
	}
	return sampleEvery * 3 / 2 // a lap is a sample too, and comes first
}

// Meter starts to measure the processes of a stage on this machine. The returned meter must be stopped.
type Meter func(every time.Duration) *stage.Meter

// meters measure during the attack. Each of them may be missing.
type meters struct {
	target   Target
	usage    *stage.Meter
	sessions *database.ConnectionSampler
	scraped  scrape // at the start
	latest   scrape // at the last lap
}

func startMeters(ctx context.Context, cfg Config) *meters {
	m := &meters{target: cfg.Target}
	if cfg.DB != nil && cfg.Target.Health != nil {
		m.sessions = cfg.DB.SampleConnections(ctx, cfg.Target.Stage(), sessionEvery)
	}
	if cfg.Meter != nil {
		m.usage = cfg.Meter(cfg.meterEvery())
	} else {
		m.scraped = scrapeMetrics(ctx, cfg.Target)
		m.latest = m.scraped
	}
	return m
}

// lap returns what was used since the last lap, or since the start. It asks the target also when ctx has ended: the
// last part of a run counts. One goroutine at a time may call it.
func (m *meters) lap(ctx context.Context) report.Resources {
	if m.usage != nil {
		return fromUsage(m.usage.Lap())
	}
	before := m.latest
	m.latest = scrapeMetrics(context.WithoutCancel(ctx), m.target)
	return before.until(m.latest)
}

// stop ends all meters, also when the run failed, and returns what they saw. No lap may follow.
func (m *meters) stop(ctx context.Context) report.Resources {
	var r report.Resources
	if m.usage != nil {
		r = fromUsage(m.usage.Stop())
	} else {
		r = m.scraped.until(scrapeMetrics(ctx, m.target))
	}
	if m.sessions != nil {
		if n, err := m.sessions.Stop(); err == nil {
			r.DBConnectionsMax = new(int64(n))
		}
	}
	return r
}

// fromUsage takes over what was measured. No processes means that nothing was: this system has no /proc.
func fromUsage(u stage.Usage) report.Resources {
	if u.ProcessesMax == 0 {
		return report.Resources{}
	}
	r := report.Resources{
		ProcessesMax: new(int64(u.ProcessesMax)), OSThreadsMax: new(int64(u.ThreadsMax)), PSSBytesMax: new(u.PSSBytesMax),
		CPUSeconds: new(u.CPUSeconds), ContextSwitchesVoluntary: new(u.Voluntary), ContextSwitchesInvoluntary: new(u.Involuntary),
	}
	if u.GoroutinesMax > 0 {
		r.GoroutinesMax = new(int64(u.GoroutinesMax))
	}
	return r
}

// perOrder adds what one accepted order cost. The meters saw the warm-up too, so its orders count here.
func perOrder(r report.Resources, result *attack.Result) report.Resources {
	accepted := 0
	for o := range result.Outcomes() {
		if o.Class == attack.Accepted {
			accepted++
		}
	}
	if accepted == 0 {
		return r
	}
	if r.CPUSeconds != nil {
		r.CPUUSPerOrder = new(*r.CPUSeconds * 1e6 / float64(accepted))
	}
	if r.ContextSwitchesVoluntary != nil && r.ContextSwitchesInvoluntary != nil {
		r.ContextSwitchesPerOrder = new(float64(*r.ContextSwitchesVoluntary+*r.ContextSwitchesInvoluntary) / float64(accepted))
	}
	return r
}
