package report

import (
	"bytes"
	"strings"
	"testing"

	"example.com/flashsale/loadtest/audit"
)

// ceilingsFixture is a comparison of three repeats with ceilings, on a machine that drifts.
func ceilingsFixture() *Result {
	r := fixture()
	r.Command = "loadtest compare --ceilings --stages 4,5 --workload sustained --repeat 3"
	r.Runs = nil
	for i, speed := range []float64{1, 2, 1.5} {
		async := judgedRun("stage4-async", "conditional", 1200*speed, judgedBy(httpNoop, 8000*speed, 10000*speed), judgedBy(hotRowSingle, 1400*speed, 1600*speed))
		async.Ceiling = &async.Ceilings[1]
		hybrid := judgedRun("stage5-hybrid", "batch", 6000*speed,
			judgedBy(httpNoop, 9000*speed, 7000*speed), judgedBy(hotRowSingle, 1500*speed, 1500*speed), judgedBy(hotRowBatch, 70000, 90000))
		hybrid.Ceiling = &hybrid.Ceilings[0]
		if i == 1 { // the bound of most repeats is shown
			hybrid.Ceiling = &hybrid.Ceilings[2]
		}
		hybrid.Settings.StageEnv = map[string]string{"QUEUE_CAP": "2000", "PROCESSES": "2"}
		async.Settings.StageEnv = hybrid.Settings.StageEnv
		r.Runs = append(r.Runs, async, hybrid)
	}
	r.Ceilings = Ceilings{
		HTTPNoop:     &Sample{Median: 14000, Min: 7000, Max: 20000, Samples: 12},
		HotRowSingle: &Sample{Median: 2250, Min: 1400, Max: 3200, Samples: 12, Connections: new(4)},
		HotRowBatch:  &Sample{Median: 80000, Min: 70000, Max: 90000, Samples: 6, Connections: new(2)},
	}
	return r
}

func judgedRun(stage, guard Text, ordersPerSecond float64, ratios ...CeilingRatio) Run {
	sold := int64(5 * ordersPerSecond)
	run := fixtureRun(stage, guard, Safe, Sustained, audit.Report{Initial: 1_000_000_000, Sold: sold, Left: 1_000_000_000 - sold, Undersold: new(int64), Verdict: audit.OK})
	run.OrdersPerSecond, run.Ceilings = ordersPerSecond, ratios
	for i := range ratios {
		c := &ratios[i]
		c.Ratio = ordersPerSecond / c.Mean()
		c.RatioMin, c.RatioMax = ordersPerSecond/max(c.BeforePerSecond, c.AfterPerSecond), ordersPerSecond/min(c.BeforePerSecond, c.AfterPerSecond)
	}
	return run
}

func judgedBy(name string, before, after float64) CeilingRatio {
	return CeilingRatio{Name: name, BeforePerSecond: before, AfterPerSecond: after}
}

func TestNoCeilingsNoTable(t *testing.T) {
	if grids := ceilingGrids(fixture()); len(grids) > 0 {
		t.Errorf("%+v", grids)
	}
	if len(terms(fixture())) != len(glossary) {
		t.Error("words are explained that do not appear")
	}
}

func TestOneRepeatSaysSo(t *testing.T) {
	r := ceilingsFixture()
	if g := judgedGrid(r); strings.Contains(g.Settings, "--repeat") {
		t.Errorf("three repeats: %s", g.Settings)
	}
	r.Runs = r.Runs[:2]
	if g := judgedGrid(r); !strings.Contains(g.Settings, "--repeat 3") {
		t.Errorf("one repeat: %s", g.Settings)
	}
}

// TestSimulatedLatencyHasNoCeiling: the fixture's runs wait for 20 ms.
func TestSimulatedLatencyHasNoCeiling(t *testing.T) {
	r := ceilingsFixture()
	if notes := caveats(r); len(notes) != 1 || !strings.Contains(notes[0], "20 ms of simulated user latency") {
		t.Errorf("%q", notes)
	}
	for i := range r.Runs {
		r.Runs[i].Settings.UserLatencyMS = new(0.0)
	}
	if notes := caveats(r); len(notes) > 0 {
		t.Errorf("without latency: %q", notes)
	}
}

func TestCeilingsAlone(t *testing.T) {
	r := ceilingsFixture()
	r.Runs = []Run{}
	if j := Judge(r); !j.OK || j.ExitCode != ExitOK {
		t.Errorf("%+v", j)
	}
	var out bytes.Buffer
	if err := Terminal(&out, r, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HTTP alone ", "14,000", "batches of 500", "No stage was judged"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	for _, unwanted := range []string{"one transaction", "of it"} {
		if strings.Contains(out.String(), unwanted) {
			t.Errorf("%q is in\n%s", unwanted, &out)
		}
	}
}

func TestMedian(t *testing.T) {
	if m := median([]float64{9, 1, 2}); m != 2 {
		t.Errorf("of three: %v", m)
	}
	if m := median([]float64{9, 1, 2, 4}); m != 3 {
		t.Errorf("of four: %v", m)
	}
}
