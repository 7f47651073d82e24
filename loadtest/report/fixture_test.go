package report

import (
	"time"

	"example.com/flashsale/loadtest/audit"
)

const evil = `<script>alert("x")</script>|*_` + "`\x1b[31m"

// fixture is a comparison of two stages, one repeat, with every field that can be known.
func fixture() *Result {
	return &Result{
		Schema:    Schema,
		StartedAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		Command:   "loadtest compare --stages 1,2",
		Commit:    "abc1234-dirty",
		Seed:      42,
		Machine: Machine{
			CPUs: 2, CPUModel: "Example CPU", MemoryBytes: new(int64(8 << 30)), OS: "linux", Kernel: "6.1.0", GoVersion: "go1.26.8",
		},
		Backing: Backing{
			Postgres: &Postgres{
				Source: "local binaries", Version: "15.20", Fsync: "on", SynchronousCommit: "on", Filesystem: "ext4", FsyncUS: new(int64(180)),
			},
			Redis: &Redis{Source: "local binaries", Version: "7.0.15"},
		},
		Notes: []string{},
		Runs: []Run{
			fixtureRun("stage1-single", "none", Safe, FlashSale, audit.Report{Initial: 100, Sold: 100, Undersold: new(int64), Verdict: audit.OK}),
			fixtureRun("stage2-multiproc", "none", Broken, FlashSale, audit.Report{Initial: 100, Sold: 243, Oversold: 143, Undersold: new(int64), StockDrift: 143, Verdict: audit.Oversold}),
			fixtureRun("stage2-multiproc", "redlock", Safe, FlashSale, audit.Report{Initial: 100, Sold: 100, Undersold: new(int64), Verdict: audit.OK}),
			fixtureRun("stage1-single", "none", Safe, Sustained, audit.Report{Initial: 1_000_000_000, Sold: 281, Left: 999_999_719, Undersold: new(int64), Verdict: audit.OK}),
			fixtureRun("stage2-multiproc", "redlock", Safe, Sustained, audit.Report{Initial: 1_000_000_000, Sold: 1120, Left: 999_998_880, Undersold: new(int64), Verdict: audit.OK}),
		},
	}
}

func fixtureRun(stage, guard, expected Text, workload string, a audit.Report) Run {
	run := Run{
		Target: "http://127.0.0.1:8080", Stage: stage, Guard: guard, Expected: expected, Workload: workload,
		Settings: Settings{
			Users: 64, Stock: new(a.Initial), Products: 1, DurationSeconds: 5, UserLatencyMS: new(20.0),
			Processes: new(1), Workers: new(1), DBConns: new(8), QueueCap: new(64),
		},
		Requests: 1200, Accepted: a.Sold, Rejected: 128, RejectedByCode: map[string]int64{"out_of_stock": 128},
		Failed: 972, FailedByCode: map[string]int64{"overloaded": 972}, UnknownByCode: map[string]int64{},
		ElapsedSeconds: 5, QPS: 240, OrdersPerSecond: float64(a.Sold) / 5,
		Latency: Latency{
			Count: a.Sold, Mean: new(801.5), P50: new(812.25), P90: new(1350.0), P99: new(1402.0), P999: new(1410.5), Max: new(1411.0),
		},
		Resources: Resources{
			ProcessesMax: new(int64(1)), OSThreadsMax: new(int64(9)), GoroutinesMax: new(int64(140)), PSSBytesMax: new(int64(31 << 20)),
			CPUSeconds: new(0.5), CPUUSPerOrder: new(5000.0), ContextSwitchesVoluntary: new(int64(1800)),
			ContextSwitchesInvoluntary: new(int64(20)), ContextSwitchesPerOrder: new(7.49), DBConnectionsMax: new(int64(1)),
		},
		Audit: &a,
	}
	if workload == Sustained {
		run.Settings.WarmupSeconds = 1
	}
	if stage == "stage2-multiproc" {
		run.Settings.Processes = new(4)
	}
	return run
}

// evilFixture is a foreign target that returns names meant to do harm.
func evilFixture() *Result {
	r := fixture()
	r.Command = "loadtest run --target " + evil
	r.Notes = []string{evil}
	run := fixtureRun(evil, evil, "", FlashSale, audit.Report{Initial: 100, Sold: 101, Oversold: 1, StockDrift: 1, Verdict: audit.Oversold})
	run.Target = evil
	run.FailedByCode = map[string]int64{evil: 1}
	run.Resources = Resources{}
	r.Runs = []Run{run}
	return r
}
