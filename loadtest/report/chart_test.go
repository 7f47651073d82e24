package report

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/loadtest/audit"
)

// drawnFixture is the fixture with everything that charts show.
func drawnFixture() *Result {
	r := fixture()
	for i := range r.Runs {
		run := &r.Runs[i]
		for second := range 6 {
			n := run.Audit.Sold / 6
			if second == 5 {
				n = run.Audit.Sold - 5*n
			}
			at := Point{
				TSeconds: float64(second), Seconds: 1, Accepted: n, Rejected: int64(second), P50MS: new(10.0), MaxMS: new(50 + 10*float64(i)),
				StockLeft: new(max(run.Audit.Initial-n*int64(second+1), 0)),
				CPUCores:  new(0.25 + float64(i)/10), DBLockWaits: new(int64(second % 3)),
			}
			if n >= 100 {
				at.P99MS = new(45.0)
			}
			run.Series = append(run.Series, at)
		}
		run.LatencyPercentiles = []Percentile{{1, 2}, {50, 10}, {90, 20}, {99, 45}, {100, 50 + 10*float64(i)}}
		run.Ceiling = &CeilingRatio{Name: httpNoop, BeforePerSecond: 200, AfterPerSecond: 220, Ratio: 0.2, RatioMin: 0.1, RatioMax: 0.3}
	}
	return r
}

func TestAxes(t *testing.T) {
	for largest, want := range map[float64]string{
		0: "[0 0.2 0.4 0.6000000000000001 0.8 1]", 1: "[0 0.2 0.4 0.6000000000000001 0.8 1]", 7: "[0 2 4 6 8]",
		100: "[0 20 40 60 80 100]", 102: "[0 50 100 150]", 2251: "[0 500 1000 1500 2000 2500]",
	} {
		a, ticks := linearAxis(largest)
		if got := fmt.Sprint(ticks); got != want || a.at(0) != 0 || a.at(a.max) != 1 {
			t.Errorf("up to %g: %s, want %s", largest, got, want)
		}
	}
	for _, test := range []struct {
		from, to float64
		want     []float64
	}{
		{10, 10, []float64{10, 20}},
		{15, 450, []float64{10, 20, 50, 100, 200, 500}},
		{3, 90_000, []float64{10, 100, 1000, 10_000, 100_000}},
	} {
		a, ticks := logAxis(test.from, test.to)
		if !slices.EqualFunc(ticks, test.want, func(x, y float64) bool { return math.Abs(x-y) < y*1e-9 }) || a.min > test.from || a.max < test.to {
			t.Errorf("%g to %g: %v on %+v", test.from, test.to, ticks, a)
		}
	}
	if a := (axis{min: 1, max: 100, log: true}); a.at(10) != 0.5 || a.at(0) != 0 || a.at(1e9) != 1 {
		t.Error("a logarithmic axis is not")
	}
}

func TestAreaBeginsWhereOrdersCrossTheStock(t *testing.T) {
	p := newPlot(100, axis{max: 10}, axis{max: 200}, "")
	p.areaAbove("over", []point{{0, 0}, {10, 200}}, 100)
	if len(p.Areas) != 1 || p.Areas[0].Points != "500,50 1000,0 1000,50" {
		t.Errorf("%+v", p.Areas)
	}
	p.areaAbove("over", []point{{0, 0}, {10, 100}}, 100)
	if len(p.Areas) != 1 {
		t.Error("a sale of what there was is drawn as oversold")
	}
}

func TestSoldPointsRestWhereNothingIsSold(t *testing.T) {
	run := Run{Series: []Point{{Seconds: 1, Accepted: 2}, {TSeconds: 1, Seconds: 1}, {TSeconds: 2, Seconds: 1, Accepted: 3}, {TSeconds: 3, Seconds: 1}}}
	if got, want := fmt.Sprint(soldPoints(&run)), "[{0 0} {1 2} {2 2} {3 5}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestStockEndsWithWhatTheAuditFound(t *testing.T) {
	run := Run{Audit: &audit.Report{Left: 3}}
	if got := fmt.Sprint(withRest([]point{{0, 100}, {1, 40}}, &run, 2)); got != "[{0 100} {1 40} {2 3}]" {
		t.Error(got)
	}
	if got := fmt.Sprint(withRest([]point{{0, 100}, {3, 5}}, &run, 2)); got != "[{0 100} {3 5}]" {
		t.Errorf("the last reading came after the last order: %s", got)
	}
	run.Audit = nil
	if got := fmt.Sprint(withRest([]point{{0, 100}}, &run, 2)); got != "[{0 100}]" {
		t.Errorf("made up: %s", got)
	}
}

func TestChartsOfAComparison(t *testing.T) {
	groups := chartGroups(drawnFixture())
	var got []string
	for _, g := range groups {
		for _, c := range g.Charts {
			got = append(got, c.Title)
			if c.Label == "" || (c.Plot == nil) == (c.Bars == nil) {
				t.Errorf("%s: %+v", c.Title, c)
			}
		}
	}
	want := []string{
		"Flash sale: all users at once for a few units", "Sustained: users who order without pause",
		"stage1-single · none", "stage2-multiproc · none", "stage2-multiproc · redlock",
		"Latency by percentile", "Orders per second, second by second", "p99 latency, second by second", "Requests that became no order, per second",
		"Busy cores of the stage", "Database sessions that wait for a lock",
	}
	if !slices.Equal(got, want) {
		t.Errorf("charts %q", got)
	}
	broken := groups[1].Charts[1]
	if broken.Second != "sold 243 of 100: oversold by 143" || !broken.Bad || len(broken.Plot.Areas) != 1 {
		t.Errorf("the oversold sale: %+v", broken)
	}
	bars := groups[0].Charts[0].Bars
	if !bars[1].Bad || !strings.Contains(bars[1].Class, "pale") || strings.Contains(bars[0].Class, "pale") {
		t.Errorf("bars %+v", bars)
	}
	if sustained := groups[0].Charts[1].Bars; sustained[1].Mark == "" || !strings.Contains(sustained[1].Value, "% of HTTP alone") {
		t.Errorf("no ceiling: %+v", sustained)
	}
}

func TestRepeatsAreOneBar(t *testing.T) {
	r := fixture()
	run := r.Runs[0]
	r.Runs = nil
	for _, v := range []float64{50, 10, 20} {
		run.OrdersPerSecond = v
		r.Runs = append(r.Runs, run)
	}
	bars := chartGroups(r)[0].Charts[0].Bars
	if len(bars) != 1 || bars[0].Value != "20.0" || bars[0].Low != "20%" || bars[0].High != "100%" {
		t.Errorf("%+v", bars)
	}
}

// An old or foreign result may lack anything; no coordinate may then be no number.
func TestChartsOfLittle(t *testing.T) {
	empty := &Result{Schema: Schema, StartedAt: time.Now(), Runs: []Run{{Target: "t", Workload: FlashSale}, {Target: "t", Workload: "other"}}}
	one := fixture()
	one.Runs = one.Runs[:1]
	one.Runs[0].Series = []Point{{}}
	one.Runs[0].LatencyPercentiles = []Percentile{{100, 5}}
	for name, r := range map[string]*Result{"nothing": {}, "empty": empty, "one point": one, "evil": evilFixture(), "all": drawnFixture()} {
		var b bytes.Buffer
		if err := HTML(&b, r); err != nil {
			t.Fatal(name, err)
		}
		for _, bad := range []string{"NaN", "Inf", "ZgotmplZ", "%!"} {
			if strings.Contains(b.String(), bad) {
				t.Errorf("%s: %s in the page", name, bad)
			}
		}
	}
}

func TestPointsStandInOneLine(t *testing.T) {
	r := drawnFixture()
	r.Notes = []string{`{"t_seconds": 1}`, "{\n  \"t_seconds\": 1\n}"}
	dir := t.TempDir()
	if err := Write(dir, r); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte(`{ "t_seconds": `)); n != 6*len(r.Runs) {
		t.Errorf("%d points in one line", n)
	}
	got, err := Read(filepath.Join(dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Error("it reads as another result")
	}
}
