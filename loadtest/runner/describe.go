package runner

import (
	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/report"
)

// describe puts settings and figures of a run into its report; resources and audit are left out.
func describe(cfg Config, result *attack.Result) report.Run {
	c := result.Counts
	run := report.Run{
		Target: cfg.Target.URL, Workload: string(cfg.Workload), Settings: settings(cfg),
		Requests: c.Requests, Accepted: c.Accepted, Replayed: c.Replayed,
		Rejected: c.Rejected, RejectedByCode: c.RejectedByCode, Failed: c.Failed, FailedByCode: c.FailedByCode,
		Unknown: c.Unknown, UnknownByCode: c.UnknownByCode,
		ElapsedSeconds: result.ElapsedSeconds, QPS: result.QPS, OrdersPerSecond: result.OrdersPerSecond,
		Latency:         report.Latency(attack.Summarize(result.Accepted)),
		RejectedLatency: report.Latency(attack.Summarize(result.Rejected)),
		AllLatency:      report.Latency(attack.Summarize(result.All)),

		LatencyPercentiles: percentiles(result.Accepted),
	}
	run.Settings.ClientTimeoutSeconds = new(result.Patience.Seconds())
	if cfg.Workload == attack.FlashSale {
		run.UsersUnanswered = new(result.Unanswered)
	}
	if result.MemoryBytes > 0 {
		run.GeneratorMemory = new(result.MemoryBytes)
	}
	if result.Open != nil {
		describeOpen(&run, result)
	}
	if h := cfg.Target.Health; h != nil {
		run.Stage, run.Guard, run.Expected = report.Text(h.Stage), report.Text(h.Guard), report.Text(h.Expected)
	}
	return run
}

func settings(cfg Config) report.Settings {
	s := report.Settings{
		Users: cfg.Users, Products: len(cfg.ProductIDs), Skew: cfg.Skew,
		DurationSeconds: cfg.Duration.Seconds(), WarmupSeconds: cfg.warmup().Seconds(),
	}
	if cfg.DB != nil {
		s.Stock = new(cfg.Stock)
	}
	if h := cfg.Target.Health; h != nil {
		s.UserLatencyMS = new(h.UserLatencyMS)
		s.Processes, s.Workers = new(h.Processes), new(h.Workers)
		s.DBConns, s.QueueCap = new(h.DBConns), new(h.QueueCap)
	}
	return s
}
