package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/flashsale/loadtest/audit"
)

// openFixture is a comparison with capacities, and a spike.
func openFixture() *Result {
	r := fixture()
	r.Command = "loadtest compare --capacity --stages 1,2 --workload none"
	r.Runs = nil
	for i, stage := range []Text{"stage1-single", "stage2-multiproc"} {
		held := 37.5 * float64(1+4*i)
		run := fixtureRun(stage, "none", Safe, Sustained, audit.Report{Initial: 1_000_000_000, Sold: 1120, Left: 999_998_880, Undersold: new(int64), Verdict: audit.OK})
		run.Settings.RatePerSecond, run.Settings.Profile, run.Settings.Arrivals = new(held), "constant", "poisson"
		run.ServiceTime, run.Dropped, run.Generator = new(run.Latency), new(int64), &Generator{LagP999MS: new(1.5), LagToleranceMS: 10}
		r.Runs = append(r.Runs, run)
		r.Capacities = append(r.Capacities, Capacity{
			Target: run.Target, Stage: stage, Guard: "none", Objective: "p99=250ms,failed=0.1%", RatePerSecond: held, MissedPerSecond: new(1.1 * held),
			SupportedDailyUsers: int64(2160 * held), RequestsPerUser: 10, PeakFactor: 4, Formula: fmt.Sprintf("formula %g", held),
			Probes: []Probe{{Phase: "bracket", RatePerSecond: 1.1 * held, Seconds: 30, Verdict: "missed", Why: "p99 300ms", P50MS: new(50.0), P99MS: new(300.0)},
				{Phase: "confirm", RatePerSecond: held, Seconds: 30, Verdict: "held", P50MS: new(25.0), P99MS: new(200.0)}},
		})
	}
	spike := r.Runs[0]
	spike.Settings.PeakPerSecond, spike.Settings.Profile, spike.Settings.DurationSeconds = new(187.5), "spike", 9
	spike.Overload = &Overload{
		FromSeconds: 5, Seconds: 2, Due: 375, Accepted: 155, Overloaded: 200, OverloadedShare: 200.0 / 375, Other: 15, Dropped: 5, GoodputPerSecond: 46.5,
		GoodputBeforePerSecond: 37.5, P99MS: new(1400.0), BeforeP99MS: new(210.0), BeforeFailedShare: new(0.0), Recovered: new(true), RecoveryMS: new(2300.0),
	}
	for i := range 10 {
		at := Point{TSeconds: float64(i), Seconds: 1, Accepted: 38, P50MS: new(30.0), MaxMS: new(210.0), InFlight: 2, Dropped: new(int64)}
		if i >= 5 && i < 7 {
			at.Accepted, at.Failed, at.MaxMS, at.InFlight = 46, 100, new(1400.0), 64
		}
		spike.Series = append(spike.Series, at)
	}
	r.Runs = append(r.Runs, spike)
	return r
}

func TestCapacitiesStandBesideTheTextbook(t *testing.T) {
	r := openFixture()
	var terminal, page bytes.Buffer
	if err := Terminal(&terminal, r, false); err != nil {
		t.Fatal(err)
	}
	if err := HTML(&page, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"stage1-single     none   p99=250ms,failed=0.1%   37.5      41.2       81,000     1,000", "405,000    10,000",
		"daily users = rate held × 86,400 s ÷ (requests per user and day × peak factor) = rate held × 86,400 s ÷ (10 × 4)",
		"cannot match the textbook's", "Within p99=250ms,failed=0.1%: stage1-single holds 37.5/s and stage2-multiproc holds 188/s.",
	} {
		if !strings.Contains(terminal.String(), want) {
			t.Errorf("%q is not in\n%s", want, &terminal)
		}
	}
	if want := "37.5/s · 81k daily users · textbook 1,000"; !strings.Contains(page.String(), want) {
		t.Errorf("%q is not in the page", want)
	}
	one := openFixture()
	one.Capacities = one.Capacities[:1]
	if g := capacityGrids(one)[0]; !strings.HasPrefix(g.Settings, "formula 37.5.\n") {
		t.Errorf("one capacity has its own formula: %q", g.Settings)
	}
}

func TestCapacityThatWasNotFound(t *testing.T) {
	r := openFixture()
	r.Capacities[0].RatePerSecond = 0
	r.Capacities[1].Unfinished = true
	j := Judge(r)
	if j.OK || j.ExitCode != ExitThreshold || !strings.Contains(j.Headline, "an objective was not held at any rate") ||
		!slices.Contains(j.Sentences, "Objective: stage1-single did not hold p99=250ms,failed=0.1% at any rate that was tried, down to 37.5/s.") {
		t.Errorf("%+v", j)
	}
	rows := capacityGrids(r)[0].Rows
	if rows[0][3].Text != "none" || !rows[0][3].Bad || rows[1][3].Text != "188 (not confirmed)" {
		t.Errorf("%+v", rows)
	}
	r.Capacities[0].Unfinished = true
	if c := capacityGrids(r)[0].Rows[0][3]; c.Text != "not found" || !c.Bad {
		t.Errorf("%+v", c)
	}
	if notes := strings.Join(capacityCaveats(r), "\n"); !strings.Contains(notes, "stage2-multiproc held 188/s once: time was up") || strings.Contains(notes, "stage1") {
		t.Error(notes)
	}
}

func TestSpikeInWords(t *testing.T) {
	r := openFixture()
	said := func() string { return strings.Join(Judge(r).Sentences, "\n") }
	if want := "stage1-single, in a spike to 188 orders/s for 2 s: 46.5 orders/s in time (37.5 before it), 200 turned away with 503 (53%), and as before 2.3 s after it."; !strings.Contains(said(), want) {
		t.Errorf("%q is not in\n%s", want, said())
	}
	o := r.Runs[2].Overload
	cell := func() (string, bool) {
		row := overloadGrids(r)[0].Rows[0]
		return row[len(row)-1].Text, row[len(row)-1].Bad
	}
	if text, bad := cell(); text != "2.3 s" || bad {
		t.Error(text, bad)
	}
	o.RecoveryMS = new(0.0)
	if !strings.Contains(said(), "and as before right after it.") {
		t.Error(said())
	}
	o.Recovered, o.RecoveryMS = new(false), nil
	if text, bad := cell(); text != "not within the run" || !bad || !strings.Contains(said(), "did not recover within the run") {
		t.Error(text, bad, said())
	}
	o.Recovered = nil
	if text, bad := cell(); text != unknown || bad || !strings.Contains(said(), "too short to tell") {
		t.Error(text, bad, said())
	}
	r.Runs[2].VoidReason = "late"
	if strings.Contains(said(), "in a spike") {
		t.Error("a void run is told as if it said something")
	}
}

// Runs of the open model have a given rate: they are no bars beside those whose rate is a result.
func TestOpenAndClosedRunsAreApart(t *testing.T) {
	r := openFixture()
	closed := r.Runs[0]
	closed.Settings.RatePerSecond, closed.Generator, closed.OrdersPerSecond = nil, nil, 99
	r.Runs = append(r.Runs, closed)
	groups := slices.DeleteFunc(chartGroups(r), func(g chartGroup) bool { return strings.HasPrefix(g.Title, "Overload") })
	if len(groups[0].Charts) != 1 || len(groups[0].Charts[0].Bars) != 1 || groups[0].Charts[0].Bars[0].Value != "99.0" {
		t.Errorf("%+v", groups[0])
	}
	if !strings.HasPrefix(groups[1].Title, "Capacity") || len(groups[1].Charts[0].Bars) != 2 {
		t.Errorf("%+v", groups[1])
	}
}

func TestChartOfASpike(t *testing.T) {
	r := openFixture()
	g := overloadGroup(r)
	if len(g.Charts) != 1 || g.Charts[0].Bad || !strings.HasPrefix(g.Charts[0].Second, "46.5 orders/s in time in the spike (37.5 before it), 53% turned away") {
		t.Fatalf("%+v", g)
	}
	p := g.Charts[0].Plot
	if len(p.Lines) != 3 || len(p.Bands) != 2 || p.Bands[1] != (band{"500", "200"}) {
		t.Errorf("%+v", p)
	}
	// 37.5 due per second, and 187.5 in the spike, on an axis up to 200.
	if want := "0,178.8 500,178.8 500,13.8 700,13.8 700,178.8 1000,178.8"; p.Lines[0].Points != want {
		t.Errorf("due: %s", p.Lines[0].Points)
	}
	r.Runs[2].Overload.Recovered = new(false)
	if c := overloadGroup(r).Charts[0]; !c.Bad || !strings.Contains(c.Second, "did not recover") {
		t.Errorf("%+v", c)
	}
	r.Runs[2].Series = nil
	if len(overloadGroup(r).Charts) > 0 {
		t.Error("drawn from nothing")
	}
}
