package report

import (
	"strings"
	"testing"

	"example.com/flashsale/loadtest/audit"
)

func TestParseThreshold(t *testing.T) {
	for text, want := range map[string]Threshold{
		"p99<50ms":               {"p99<50ms", "p99", "<", 50},
		"p99.9 <= 1.5s":          {"p99.9<=1.5s", "p99.9", "<=", 1500},
		"max<250us":              {"max<250us", "max", "<", 0.25},
		"failed<0.1%":            {"failed<0.1%", "failed", "<", 0.1},
		"accepted>=99%":          {"accepted>=99%", "accepted", ">=", 99},
		"orders_per_second>1000": {"orders_per_second>1000", "orders_per_second", ">", 1000},
		"qps>1e3":                {"qps>1e3", "qps", ">", 1000},
	} {
		if got, err := ParseThreshold(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{
		"":               "has no < or >: write it as in p99<50ms",
		"p99=50ms":       "has no < or >",
		"p98<50ms":       `there is no "p98": use p50, p90,`,
		"p99<50":         "write a duration with its unit, as in 50ms",
		"p99<0":          "write a duration with its unit",
		"p99<-1ms":       "write a duration with its unit",
		"p99<50ms<60ms":  "write a duration with its unit",
		"failed<0.1":     "write a percentage, as in 0.1%",
		"failed<200%":    "write a percentage",
		"failed<NaN%":    "write a percentage",
		"qps>1000ms":     "write a number, as in 1000",
		"qps>Inf":        "write a number",
		"qps>":           "write a number",
		"<50ms":          `there is no ""`,
		"p99 < fast":     "write a duration",
		"out_of_stock<1": `there is no "out_of_stock"`,
	} {
		if _, err := ParseThreshold(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

func TestThresholdsDecideTheExitCode(t *testing.T) {
	good := audit.Report{Initial: 100, Sold: 100, Verdict: audit.OK}
	run := func(expected Text, workload string) Run { return fixtureRun("s", "g", expected, workload, good) } // p99 1402 ms, 20 orders/s
	few := run(Safe, Sustained)
	few.Latency.P99 = nil
	void := run(Safe, Sustained)
	void.VoidReason = "late"
	oversold := run(Safe, Sustained)
	oversold.Audit = &audit.Report{Initial: 100, Sold: 103, Oversold: 3, StockDrift: 3, Verdict: audit.Oversold}
	for _, test := range []struct {
		name      string
		threshold string
		runs      []Run
		code      int
		says      string
	}{
		{"met", "p99<2s", []Run{run(Safe, Sustained)}, ExitOK, "as expected"},
		{"missed", "p99<50ms", []Run{run(Safe, Sustained)}, ExitThreshold, "Threshold: s, guard g, sustained: p99 is 1,402 ms, so p99<50ms is missed."},
		{"share", "failed<=81%", []Run{run(Safe, Sustained)}, ExitOK, ""},
		{"share missed", "failed<0.1%", []Run{run(Safe, Sustained)}, ExitThreshold, "failed is 81%"},
		{"rate", "orders_per_second>1000", []Run{run(Safe, Sustained)}, ExitThreshold, "orders_per_second is 20.0 per second"},
		{"not known", "p99<2s", []Run{few}, ExitThreshold, "p99 is not known"},
		{"closed model drops nothing that is known", "dropped<1%", []Run{few}, ExitThreshold, "dropped is not known"},
		{"one of two", "p99<50ms", []Run{run(Safe, Sustained), few}, ExitThreshold, "not known"},
		{"flash sale beside sustained", "qps>1", []Run{run(Safe, FlashSale), run(Safe, Sustained)}, ExitOK, ""},
		{"flash sale alone", "p50<1ms", []Run{run(Safe, FlashSale)}, ExitThreshold, "p50 is 812 ms"},
		{"broken guards only", "qps>1", []Run{run(Broken, Sustained)}, ExitThreshold, "no run could be judged"},
		{"oversold matters more", "p99<50ms", []Run{oversold}, ExitUnexpected, "oversold by 3"},
		{"void matters more", "p99<50ms", []Run{void}, ExitVoid, "VOID"},
		{"from an edited file", "nonsense", []Run{run(Safe, Sustained)}, ExitThreshold, "there is no"},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := Judge(&Result{Runs: test.runs, Thresholds: []string{test.threshold}})
			text := j.Headline + " " + strings.Join(j.Sentences, " ")
			if j.ExitCode != test.code || j.OK != (test.code == ExitOK) || !strings.Contains(text, test.says) {
				t.Errorf("exit code %d: %s", j.ExitCode, text)
			}
		})
	}
}

// What a command can limit is what it finds out.
func TestThresholdsOfOtherSubjects(t *testing.T) {
	for _, test := range []struct {
		text    string
		subject Subject
		ok      bool
	}{
		{"rate_per_second>100", OfCapacities, true},
		{"supported_daily_users>=100000", OfCapacities, true},
		{"rate_per_second>100", OfRuns, false},
		{"http_noop_per_second>5000", OfCeilings, true},
		{"p99<5ms", OfCeilings, false},
		{"recovery<2s", OfFaults, true},
		{"recovery<2", OfFaults, false},
		{"failed<1%", OfFaults, true},
		{"orders_per_second>1", OfFaults, false},
	} {
		if _, err := ParseThreshold(test.text, test.subject); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.text, err)
		}
	}
}

func TestCapacityThresholds(t *testing.T) {
	r := fixture()
	r.Capacities = []Capacity{{Stage: "stage4-async", RatePerSecond: 900, SupportedDailyUsers: 1_944_000}}
	for _, test := range []struct {
		threshold string
		code      int
	}{
		{"rate_per_second>800", ExitOK}, {"rate_per_second>900", ExitThreshold}, {"supported_daily_users>=1944000", ExitOK},
		{"supported_daily_users>2000000", ExitThreshold}, {"p50<1s", ExitOK}, {"p50<1ms", ExitThreshold},
	} {
		r.Thresholds = []string{test.threshold}
		j := Judge(r)
		if j.ExitCode != test.code {
			t.Errorf("%s: %+v", test.threshold, j)
		}
		if said := strings.Contains(strings.Join(j.Sentences, " "), test.threshold); !said {
			t.Errorf("%s is not in %q", test.threshold, j.Sentences)
		}
	}
}

func TestCeilingThresholds(t *testing.T) {
	r := &Result{Schema: Schema, Ceilings: Ceilings{HTTPNoop: &Sample{Median: 5000, Samples: 3}}}
	for threshold, code := range map[string]int{
		"http_noop_per_second>4000": ExitOK, "http_noop_per_second>6000": ExitThreshold,
		"hot_row_batch_per_second>1": ExitThreshold, // not measured
	} {
		r.Thresholds = []string{threshold}
		if j := Judge(r); j.ExitCode != code || j.OK != (code == ExitOK) || !strings.Contains(strings.Join(j.Sentences, " "), threshold) {
			t.Errorf("%s: %+v", threshold, j)
		}
	}
}

func TestFaultThresholds(t *testing.T) {
	f := Fault{Requests: 1000, Failed: 20, RecoveryMS: new(120.0), LongestWaitMS: 80, Verdict: "ok", Problems: []string{}}
	f.JudgeThresholds([]string{"recovery<200ms", "failed<3%", "longest_wait<100ms"}, true)
	if f.Verdict != "ok" || len(f.Problems) > 0 {
		t.Errorf("%+v", f)
	}
	f.JudgeThresholds([]string{"recovery<100ms", "failed<1%"}, true)
	if f.Verdict != Missed || len(f.Problems) != 2 || !strings.Contains(f.Problems[0], "recovery is 120 ms, so recovery<100ms is missed") {
		t.Errorf("%+v", f)
	}
	f.Verdict = "inconsistent"
	f.RecoveryMS = nil
	f.JudgeThresholds([]string{"recovery<1s"}, true)
	if f.Verdict != "inconsistent" || len(f.Problems) != 3 {
		t.Errorf("%+v", f)
	}
}

// Where there is nothing to recover from, a limit of the recovery does not apply; the others do.
func TestFaultsWithoutRecovery(t *testing.T) {
	f := Fault{Requests: 1000, LongestWaitMS: 80, Verdict: "ok", Problems: []string{}}
	f.JudgeThresholds([]string{"recovery<2s", "longest_wait<100ms"}, false)
	if f.Verdict != "ok" || len(f.Problems) > 0 {
		t.Errorf("%+v", f)
	}
	f.JudgeThresholds([]string{"recovery<2s", "longest_wait<50ms"}, false)
	if f.Verdict != Missed || len(f.Problems) != 1 || !strings.Contains(f.Problems[0], "longest_wait") {
		t.Errorf("%+v", f)
	}
	f = Fault{Requests: 1000, Verdict: "ok", Problems: []string{}}
	if f.JudgeThresholds([]string{"recovery<2s"}, true); f.Verdict != Missed {
		t.Errorf("a recovery that is not known passes: %+v", f)
	}
}
