package runner

import (
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

const ms = time.Millisecond

func TestGrid(t *testing.T) {
	coarse, fine := grid{end: 2500 * ms}, grid{fine: true, end: 2500 * ms}
	for _, test := range []struct {
		grid         grid
		at           time.Duration
		index        int
		from, length time.Duration
	}{
		{coarse, 0, 0, 0, time.Second},
		{coarse, -ms, 0, 0, time.Second},
		{coarse, 999 * ms, 0, 0, time.Second},
		{coarse, 1000 * ms, 1, time.Second, time.Second},
		{coarse, 2500 * ms, 2, 2 * time.Second, 500 * ms},
		{coarse, time.Hour, 2, 2 * time.Second, 500 * ms},
		{fine, 9 * ms, 0, 0, 10 * ms},
		{fine, 990 * ms, 99, 990 * ms, 10 * ms},
		{fine, 1000 * ms, 100, time.Second, time.Second},
		{fine, 2000 * ms, 101, 2 * time.Second, 500 * ms},
	} {
		i := test.grid.index(test.at)
		from, length := test.grid.interval(i)
		if i != test.index || from != test.from || length != test.length {
			t.Errorf("%v of %+v is in interval %d from %v for %v", test.at, test.grid, i, from, length)
		}
	}
	if coarse.len() != 3 || fine.len() != 102 || (grid{}).len() != 1 {
		t.Errorf("%d, %d and %d intervals", coarse.len(), fine.len(), (grid{}).len())
	}
}

func TestSeriesCountsOutcomesWhereTheyEnd(t *testing.T) {
	outcomes := []attack.Outcome{
		{Class: attack.Accepted, SentAt: 0, Latency: 10 * ms},
		{Class: attack.Accepted, SentAt: 900 * ms, Latency: 200 * ms}, // open at the end of the first second
		{Class: attack.Replayed, SentAt: 100 * ms, Latency: ms},
		{Class: attack.Rejected, SentAt: 100 * ms, Latency: ms},
		{Class: attack.Failed, SentAt: 1200 * ms, Latency: ms},
		{Class: attack.Unknown, SentAt: 100 * ms, Latency: 1400 * ms}, // and this one
	}
	var run report.Run
	fillSeries(&run, grid{end: 1500 * ms}, slices.Values(outcomes))
	first, second := run.Series[0], run.Series[1]
	if first.Accepted != 1 || first.Replayed != 1 || first.Rejected != 1 || first.Answers() != 3 || first.InFlight != 2 {
		t.Errorf("first second %+v", first)
	}
	if second.Accepted != 1 || second.Failed != 1 || second.Unknown != 1 || second.InFlight != 0 || second.Seconds != 0.5 {
		t.Errorf("second %+v", second)
	}
	if *first.P50MS != 10 || *first.MaxMS != 10 || first.P99MS != nil || *second.MaxMS != 200 {
		t.Errorf("latencies %v %v", *first.P50MS, *second.MaxMS)
	}
	if first.CPUCores != nil || first.StockLeft != nil || first.Dropped != nil {
		t.Errorf("something was made up: %+v", first)
	}
}

func TestSeriesOfTheOpenModel(t *testing.T) {
	var run report.Run
	g := grid{end: 1500 * ms}
	fillSeries(&run, g, slices.Values([]attack.Outcome{{Class: attack.Accepted, SentAt: 900 * ms, Waited: 100 * ms, Latency: 50 * ms}}))
	addDropped(run.Series, g, slices.Values([]time.Duration{ms, 2 * ms, 1200 * ms}))
	if *run.Series[0].MaxMS != 150 {
		t.Errorf("latency %v: it counts from when the order was due", *run.Series[0].MaxMS)
	}
	if *run.Series[0].Dropped != 2 || *run.Series[1].Dropped != 1 {
		t.Errorf("dropped %d and %d", *run.Series[0].Dropped, *run.Series[1].Dropped)
	}
}

func TestSeriesLatencies(t *testing.T) {
	us := make([]uint32, 200)
	for i := range us {
		us[i] = uint32(i+1) * 1000
	}
	var p report.Point
	addLatencies(&p, us)
	if *p.P50MS != 101 || *p.P99MS != 199 || *p.MaxMS != 200 {
		t.Errorf("p50 %v, p99 %v, max %v", *p.P50MS, *p.P99MS, *p.MaxMS)
	}
}

func TestSamplesStandWhereTheyWereTaken(t *testing.T) {
	start := time.Now()
	series := make([]report.Point, 3)
	addSamples(series, start, grid{end: 2500 * ms}, samples{
		usage: []usageSample{
			{start.Add(-ms), time.Second, report.Resources{PSSBytesMax: new(int64(9))}}, // before the start
			{start.Add(1100 * ms), 500 * ms, report.Resources{
				CPUSeconds: new(0.75), PSSBytesMax: new(int64(1)), OSThreadsMax: new(int64(2)),
				ContextSwitchesVoluntary: new(int64(40)), ContextSwitchesInvoluntary: new(int64(10)),
			}},
		},
		activity: []activitySample{{start.Add(ms), database.Activity{Connections: 8, LockWaits: 7}}},
		stock:    []stockSample{{start.Add(ms), 100}, {start.Add(2 * ms), 90}, {start.Add(time.Minute), 0}},
	})
	if p := series[1]; *p.CPUCores != 1.5 || *p.PSSBytes != 1 || *p.OSThreads != 2 || p.Goroutines != nil || *p.ContextSwitchesPerSecond != 100 {
		t.Errorf("usage %+v", p)
	}
	if p := series[0]; p.PSSBytes != nil || *p.DBConnections != 8 || *p.DBLockWaits != 7 || *p.StockLeft != 90 {
		t.Errorf("first second %+v", p)
	}
	if p := series[2]; *p.StockLeft != 0 {
		t.Errorf("the last sample is lost: %+v", p)
	}
}

func TestPercentilesNeedTenValuesBeyond(t *testing.T) {
	h := hdrhistogram.New(1, 1_000_000, 3)
	if got := percentiles(h); got != nil {
		t.Errorf("of nothing: %v", got)
	}
	for i := range int64(1000) {
		_ = h.RecordValue(i + 1)
	}
	got := percentiles(h)
	if n := len(got); got[n-2].Percentile != 99 || got[n-1].Percentile != 100 || got[n-1].MS != 1 {
		t.Errorf("%v", got)
	}
}
