package live

import (
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
)

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newTestBoard() (*Board, *clock) {
	c := &clock{time.Unix(1_000_000, 0)}
	b := NewBoard("compare")
	b.now = c.now
	return b, c
}

func sale(b *Board, units int64) {
	b.Plan(10 * time.Second)
	b.Next("stage4-async, guard none, flash-sale")
	b.Begin(Info{Stage: "stage4-async", Guard: "none", Expected: "broken", Workload: "flash-sale", Users: 64, Units: units, Products: 1})
}

func TestRemainingTime(t *testing.T) {
	b, c := newTestBoard()
	b.Plan(10*time.Second, 20*time.Second, 30*time.Second, 40*time.Second)
	if left := b.State().LeftSeconds; left != 100 {
		t.Errorf("before the start: %v s", left)
	}
	b.Next("first")
	if left := b.State().LeftSeconds; left != 100 {
		t.Errorf("at the start: %v s", left)
	}
	c.at = c.at.Add(20 * time.Second) // it took twice as long
	b.Skip()
	b.Next("third")
	if left := b.State().LeftSeconds; left != 110 {
		t.Errorf("in the third: %v s, not 30 s of this one and 80 s of the next", left)
	}
	b.Detail("x")
	if text := b.Line(); text != "[2/3] third: x, 1m50s left" {
		t.Errorf("%q", text)
	}
}

// TestOversoldAtOnce: whoever knows first, buyers or database, is enough.
func TestOversoldAtOnce(t *testing.T) {
	for _, test := range []struct {
		name     string
		accepted int64
		seen     *database.Stock
		want     int64
	}{
		{"nothing is known", 0, nil, 0},
		{"all is sold, and no more", 100, &database.Stock{Left: 0, Counted: true, Sold: 100}, 0},
		{"buyers were promised one too many", 101, nil, 1},
		{"the database has one too many", 60, &database.Stock{Left: 40, Counted: true, Sold: 101, Oversold: 1}, 1},
		{"the database is behind", 120, &database.Stock{Left: 40, Counted: true, Sold: 110, Oversold: 10}, 20},
		{"it was not counted", 90, &database.Stock{Left: 10}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, _ := newTestBoard()
			sale(b, 100)
			if test.seen != nil {
				b.Stock(*test.seen)
			}
			b.Progress(attack.Progress{Elapsed: time.Second, Duration: 5 * time.Second, Users: 3, Accepted: test.accepted})
			state := b.State()
			if got := state.Run.Stock.Oversold; got != test.want {
				t.Errorf("oversold by %d, not %d", got, test.want)
			}
			if drawn := Draw(state, 120, 30); strings.Contains(drawn, "OVERSOLD") != (test.want > 0) {
				t.Errorf("%s", drawn)
			}
		})
	}
}

func TestNoStockWithoutADatabase(t *testing.T) {
	b, _ := newTestBoard()
	b.Plan(time.Second)
	b.Next("a")
	b.Begin(Info{Stage: "http://host", Workload: "sustained"})
	b.Progress(attack.Progress{Elapsed: time.Second, Users: 1, Accepted: 1000})
	state := b.State()
	if state.Run.Stock != nil || strings.Contains(Draw(state, 120, 30), "stock") {
		t.Errorf("%+v", state.Run.Stock)
	}
}

func TestRunSeries(t *testing.T) {
	b, _ := newTestBoard()
	sale(b, 100)
	if line := b.Line(); line != "[1/1] stage4-async, guard none, flash-sale, 10s left" {
		t.Errorf("%q", line)
	}
	few := attack.Spread{Counts: []uint32{9: 2, 12: 1}}
	many := attack.Spread{Counts: []uint32{9: 990, 10: 9, 15: 1}}
	b.Progress(attack.Progress{Elapsed: 500 * time.Millisecond, Duration: 5 * time.Second, Users: 64, Accepted: 3, Rejected: 1, PerSecond: 8, Response: few})
	b.Progress(attack.Progress{Elapsed: 1500 * time.Millisecond, Users: 64, Accepted: 1003, Rejected: 1, PerSecond: 1000, Response: many})
	b.Progress(attack.Progress{Elapsed: 2 * time.Second, Users: 0, Accepted: 1003, Rejected: 5, PerSecond: 8, Dropped: 2})
	b.Progress(attack.Progress{Elapsed: 2 * time.Second, Users: 0, Accepted: 1003, Rejected: 5, Dropped: 2}) // no time has passed
	r := b.State().Run
	var rates []float64
	var p99s []string
	for _, p := range r.Points {
		rates = append(rates, p.OrdersPerSecond)
		p99s = append(p99s, milliseconds(p.P99MS))
	}
	if !slices.Equal(rates, []float64{6, 1000, 0}) {
		t.Errorf("orders per second: %v", rates)
	}
	if !slices.Equal(p99s, []string{"0.0 ms", "0.0 ms", "–"}) || *r.Points[0].P99MS != 0.012 || *r.Points[1].P99MS != 0.009 || *r.P99MS != 0.009 {
		t.Errorf("p99: %v, %v", p99s, *r.P99MS)
	}
	if !r.Auditing || r.QPS != 8 || r.Rejected != 5 || r.Dropped != nil {
		t.Errorf("%+v", r)
	}
	if line := b.Line(); line != "[1/1] stage4-async, guard none, flash-sale: 1003 orders, 8 answers/s, 2 dropped, 10s left" {
		t.Errorf("%q", line)
	}
	b.End(Finished{Stage: "stage4-async", Verdict: "oversold", Oversold: 903, Expected: "broken"})
	if s := b.State(); s.Run != nil || len(s.Finished) != 1 {
		t.Errorf("%+v", s)
	}
	b.Progress(attack.Progress{Accepted: 7}) // too late, and no harm
	b.Stock(database.Stock{})
	b.Over("all as expected")
	if s := b.State(); !s.Over || s.Outcome != "all as expected" || s.LeftSeconds != 0 {
		t.Errorf("%+v", s)
	}
}

func TestBounds(t *testing.T) {
	b, _ := newTestBoard()
	sale(b, 100)
	for i := range 3 * maxPoints {
		b.Progress(attack.Progress{Elapsed: time.Duration(i+1) * time.Second, Users: 1, Accepted: int64(i * i)})
	}
	points := b.State().Run.Points
	if len(points) != maxPoints || points[maxPoints-1].OrdersPerSecond != 6*maxPoints-3 {
		t.Errorf("%d points, the last one %+v", len(points), points[len(points)-1])
	}
	for range 3 * maxFinished {
		b.End(Finished{})
	}
	if n := len(b.State().Finished); n != maxFinished {
		t.Errorf("%d finished runs", n)
	}
}
