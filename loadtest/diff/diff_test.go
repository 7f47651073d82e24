package diff

import (
	"math"
	"strings"
	"testing"

	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/report"
)

// side is one result with a run for each rate; the latency goes the other way.
func side(expected report.Text, rates ...float64) []*report.Result {
	r := &report.Result{Schema: report.Schema, Machine: report.Machine{CPUs: 2}}
	for _, rate := range rates {
		r.Runs = append(r.Runs, report.Run{
			Stage: "stage3-threads", Guard: "mutex", Expected: expected, Workload: report.Sustained, Requests: 1000, Accepted: 1000,
			OrdersPerSecond: rate, Latency: report.Latency{P50: new(64_000 / rate)}, Audit: &audit.Report{Verdict: audit.OK},
		})
	}
	return []*report.Result{r}
}

func find(t *testing.T, c Comparison, metric string) Row {
	t.Helper()
	for _, row := range c.Rows {
		if row.Metric == metric {
			return row
		}
	}
	t.Fatalf("no row for %s in %+v", metric, c)
	return Row{}
}

func TestCompare(t *testing.T) {
	steady := []float64{100, 101, 102, 103, 104, 105}
	for _, test := range []struct {
		name               string
		expected           report.Text
		before, after      []float64
		threshold          float64
		significant, worse bool
		warns              string
	}{
		{"the same", report.Safe, steady, steady, 0, false, false, ""},
		{"slower", report.Safe, steady, []float64{80, 81, 82, 83, 84, 85}, 5, true, true, ""},
		{"faster", report.Safe, steady, []float64{200, 201, 202, 203, 204, 205}, 5, true, false, ""},
		{"slower, within the threshold", report.Safe, steady, []float64{80, 81, 82, 83, 84, 85}, 50, true, false, ""},
		{"overlapping", report.Safe, steady, []float64{60, 102.5, 98, 110, 103.5, 104.5}, 0, false, false, ""},
		{"three runs prove nothing", report.Safe, steady[:3], []float64{1, 2, 3}, 0, false, false, "3 and 3 runs cannot show a difference"},
		{"four do", report.Safe, steady[:4], []float64{1, 2, 3, 4}, 0, true, true, ""},
		{"a broken guard is not judged", report.Broken, steady, []float64{80, 81, 82, 83, 84, 85}, 5, true, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Compare(side(test.expected, test.before...), side(test.expected, test.after...), test.threshold)
			for _, name := range []string{"orders/s", "p50"} {
				if row := find(t, c, name); row.Significant != test.significant || row.Worse != test.worse {
					t.Errorf("%s: %+v", name, row)
				}
			}
			if got := strings.Join(c.Warnings, " "); (got == "") != (test.warns == "") || !strings.Contains(got, test.warns) {
				t.Errorf("warnings %q", got)
			}
		})
	}
}

func TestRowHasMedianAndInterval(t *testing.T) {
	c := Compare(side(report.Safe, 6, 1, 5, 2, 4, 3), side(report.Safe, 70, 7), 0)
	row := find(t, c, "orders/s")
	if row.Before != (Side{Median: 3.5, Low: 1, High: 6, N: 6, Bounded: true}) || row.After.Bounded || row.After.N != 2 || row.After.Median != 38.5 {
		t.Errorf("%+v", row)
	}
	if math.Abs(row.Delta-1000) > 1e-9 {
		t.Errorf("delta %v", row.Delta)
	}
}

func TestFailuresFromNone(t *testing.T) {
	before, after := side(report.Safe, 1, 2, 3, 4), side(report.Safe, 1, 2, 3, 4)
	for i := range after[0].Runs {
		after[0].Runs[i].Failed = int64(i + 1)
	}
	row := find(t, Compare(before, after, 20), "failed")
	if !row.Worse || !math.IsInf(row.Delta, 1) {
		t.Errorf("%+v", row)
	}
}

func TestFigureThatSomeRunsLackIsLeftOut(t *testing.T) {
	before, after := side(report.Safe, 1, 2, 3, 4), side(report.Safe, 1, 2, 3, 4)
	after[0].Runs[0].Latency.P50 = nil
	c := Compare(before, after, 0)
	for _, row := range c.Rows {
		if row.Metric == "p50" {
			t.Errorf("%+v", row)
		}
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "p50 is left out") {
		t.Errorf("%q", c.Warnings)
	}
}

func TestWarnings(t *testing.T) {
	before, after := side(report.Safe, 1, 2, 3, 4), side(report.Safe, 1, 2, 3, 4)
	after[0].Machine.CPUs = 64
	after[0].Incomplete = true
	for i := range after[0].Runs {
		after[0].Runs[i].Settings.Users = 8
	}
	alone := after[0].Runs[0]
	alone.Guard = "rowlock"
	void := alone
	void.Guard, void.VoidReason = "batch", "late"
	after[0].Runs = append(after[0].Runs, alone, void)
	gone := before[0].Runs[0]
	gone.Stage = "stage4-async"
	before[0].Runs = append(before[0].Runs, gone)
	c := Compare(before, after, 0)
	text := strings.Join(c.Warnings, "\n")
	for _, says := range []string{
		"stage3-threads, guard mutex, sustained: the settings differ (users: 0, then 8)", "different machines",
		"guard rowlock, sustained was not measured before", "stage4-async, guard mutex, sustained was not measured after",
		"side after is not good by itself",
	} {
		if !strings.Contains(text, says) {
			t.Errorf("%q is not in %s", says, text)
		}
	}
	if strings.Contains(text, "batch") {
		t.Errorf("void runs count: %s", text)
	}
	if len(c.Worse()) != 0 {
		t.Errorf("%+v", c.Worse())
	}
}
