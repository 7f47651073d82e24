package report

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"example.com/flashsale/loadtest/audit"
)

// What is no run is a test case too: a file without cases would pass.
func TestOtherTestCases(t *testing.T) {
	good := audit.Report{Verdict: audit.OK}
	for name, test := range map[string]struct {
		result   *Result
		failures string // parts of their messages, by case; empty: it passes
	}{
		"capacities": {&Result{
			Thresholds: []string{"rate_per_second>800"},
			Capacities: []Capacity{{Stage: "a", RatePerSecond: 900}, {Stage: "b", RatePerSecond: 700}, {Stage: "c", Objective: "p99=1ms"}},
		}, ",rate_per_second is 700,rate_per_second is 0"},
		"faults": {&Result{Faults: []Fault{
			{Stage: "a", Fault: "reload", Audit: &good, Verdict: "ok"}, {Stage: "a", Fault: "hang", Audit: &good, Verdict: Missed, Problems: []string{"too slow"}},
			{Stage: "a", Fault: "term", Verdict: "inconsistent"},
		}}, ",too slow,verdict inconsistent"},
		"ceilings":       {&Result{Ceilings: Ceilings{HTTPNoop: &Sample{Median: 5}}}, ""},
		"ceiling missed": {&Result{Ceilings: Ceilings{HTTPNoop: &Sample{Median: 5}}, Thresholds: []string{"http_noop_per_second>9"}}, "http_noop_per_second is 5"},
		"ceiling beside runs": {&Result{
			Runs: []Run{{Stage: "a", Audit: &good}}, Ceilings: Ceilings{HTTPNoop: &Sample{Median: 5}}, Thresholds: []string{"http_noop_per_second>9"},
		}, ",http_noop_per_second is 5"},
		"ceiling not measured": {&Result{Runs: []Run{{Stage: "a", Audit: &good}}, Thresholds: []string{"http_noop_per_second>9"}}, ",http_noop_per_second is not known"},
		"no run judged": {&Result{
			Runs: []Run{{Stage: "a", Expected: Broken, Audit: &audit.Report{Oversold: 3, Verdict: audit.Oversold}}}, Thresholds: []string{"p99<1s"},
		}, ",Threshold: no run could be judged"},
	} {
		var b bytes.Buffer
		if err := JUnit(&b, test.result); err != nil {
			t.Fatal(err)
		}
		var got junit.Testsuites
		if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		want := strings.Split(test.failures, ",")
		if got.Tests != len(want) {
			t.Fatalf("%s: %s", name, b.Bytes())
		}
		for i, c := range got.Suites[0].Testcases {
			message := ""
			if c.Failure != nil {
				message = c.Failure.Message
			}
			if c.Skipped != nil {
				t.Errorf("%s, %s: skipped", name, c.Name)
			}
			if (message == "") != (want[i] == "") || !strings.HasPrefix(message, want[i]) {
				t.Errorf("%s, %s: %q, want %q", name, c.Name, message, want[i])
			}
		}
	}
}

// A run that nobody audited passes only where a threshold for runs judged it.
func TestUnauditedRunsAreSkipped(t *testing.T) {
	for threshold, skipped := range map[string]bool{"": true, "http_noop_per_second>1": true, "rate_per_second>1": true, "qps>1": false} {
		r := &Result{Runs: []Run{{Stage: "a", QPS: 5}}, Ceilings: Ceilings{HTTPNoop: &Sample{Median: 5}}}
		if threshold != "" {
			r.Thresholds = []string{threshold}
		}
		if failure, skip := outcomeOf(r, &r.Runs[0], false); failure != nil || (skip != nil) != skipped {
			t.Errorf("%q: failure %+v, skipped %+v", threshold, failure, skip)
		}
	}
}
