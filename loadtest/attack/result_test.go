package attack

import (
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"
)

// at returns an attempt that ended at some millisecond after so many of them.
func at(endMS, latencyMS int, class Class, status int, code codeID) record {
	return record{class: class, status: uint16(status), code: code,
		sentAt: time.Duration(endMS-latencyMS) * time.Millisecond, latency: time.Duration(latencyMS) * time.Millisecond}
}

// resultOf computes the result of a run with these attempts of one user.
func resultOf(cfg Config, records ...record) *Result {
	c := newCrowd(cfg.withDefaults(), target{}, nil)
	c.codes.id([]byte(CodeOutOfStock))
	c.codes.id([]byte("overloaded"))
	c.codes.id([]byte(CodeEOF))
	for i := range records {
		c.users[i%len(c.users)].log.add(&records[i])
	}
	return newResult(c, time.Now(), false)
}

// Numbers that resultOf gives the codes.
const (
	soldOutID    codeID = 2
	overloadedID codeID = 3
	eofID        codeID = 4
)

func TestSustainedFigures(t *testing.T) {
	cfg := Config{Workload: Sustained, Users: 1, ProductIDs: []int64{7}, Duration: 3 * time.Second, Warmup: time.Second}
	r := resultOf(cfg,
		at(500, 500, Accepted, 201, 0),                   // in the warm-up
		at(1000, 500, Accepted, 201, 0),                  // sent in it, answered just after
		at(1500, 10, Replayed, 200, 0),                   //
		at(2000, 10, Rejected, 409, soldOutID),           //
		at(2100, 10, Failed, 503, overloadedID),          //
		at(2200, 10, Unknown, 500, 0),                    // an answer, though it tells nothing
		at(2999, 10, Accepted, 201, 0),                   //
		at(3001, 100, Accepted, 201, 0),                  // sent in the window, answered after it
		at(7900, 5000, Unknown, 0, eofID),                // sent in the window and never answered
		at(8200, 100, Failed, 0, eofID),                  // after everything
		record{class: Accepted, sentAt: 9 * time.Second}, // after everything
	)
	want := Counts{Requests: 7, Accepted: 2, Replayed: 1, Rejected: 1, Failed: 1, Unknown: 2,
		RejectedByCode: map[string]int64{CodeOutOfStock: 1}, FailedByCode: map[string]int64{"overloaded": 1},
		UnknownByCode: map[string]int64{CodeEOF: 1}}
	if !reflect.DeepEqual(r.Counts, want) {
		t.Errorf("got  %+v\nwant %+v", r.Counts, want)
	}
	if r.ElapsedSeconds != 2 || r.QPS != 3 || r.OrdersPerSecond != 1 || r.Elapsed != 9*time.Second {
		t.Errorf("%v s, %v answers/s, %v orders/s, %v in all", r.ElapsedSeconds, r.QPS, r.OrdersPerSecond, r.Elapsed)
	}
	if r.Accepted.TotalCount() != 2 || r.Rejected.TotalCount() != 1 || r.All.TotalCount() != 7 {
		t.Errorf("histograms of %d, %d, %d", r.Accepted.TotalCount(), r.Rejected.TotalCount(), r.All.TotalCount())
	}
	if r.Len() != 11 {
		t.Errorf("%d attempts", r.Len())
	}
}

func TestFlashSaleFigures(t *testing.T) {
	cfg := Config{Workload: FlashSale, Users: 2, ProductIDs: []int64{7}, Duration: time.Minute, Warmup: time.Minute}
	r := resultOf(cfg,
		at(100, 100, Accepted, 201, 0),
		at(200, 100, Accepted, 201, 0),
		at(400, 100, Accepted, 201, 0),
		at(1000, 10, Rejected, 409, soldOutID),
	)
	if r.MeasuredFrom != 0 || r.ElapsedSeconds != 1 || r.QPS != 4 {
		t.Errorf("from %v, %v s, %v answers/s", r.MeasuredFrom, r.ElapsedSeconds, r.QPS)
	}
	if math.Abs(r.OrdersPerSecond-7.5) > 1e-9 { // 3 until the last was accepted
		t.Errorf("%v orders/s", r.OrdersPerSecond)
	}
}

func TestNoFiguresFromNothing(t *testing.T) {
	for _, workload := range []Workload{FlashSale, Sustained} {
		r := resultOf(Config{Workload: workload, Users: 1, ProductIDs: []int64{7}, Duration: time.Second})
		if r.Counts.Requests != 0 || r.QPS != 0 || r.OrdersPerSecond != 0 || r.ElapsedSeconds != 0 {
			t.Errorf("%s: got %+v", workload, r)
		}
		if lat := Summarize(r.Accepted); lat != (Latency{}) {
			t.Errorf("%s: got %+v", workload, lat)
		}
	}
}

// An interrupted run is measured as far as it came.
func TestWindowOfAShortRun(t *testing.T) {
	cfg := Config{Workload: Sustained, Users: 1, ProductIDs: []int64{7}, Duration: 10 * time.Second, Warmup: 2 * time.Second}
	r := resultOf(cfg, at(3000, 10, Accepted, 201, 0), at(4000, 10, Accepted, 201, 0))
	if r.MeasuredFrom != 2*time.Second || r.MeasuredTo != 4*time.Second {
		t.Errorf("measured from %v to %v", r.MeasuredFrom, r.MeasuredTo)
	}
	if r := resultOf(cfg, at(1000, 10, Accepted, 201, 0)); r.MeasuredFrom != r.MeasuredTo || r.QPS != 0 {
		t.Errorf("measured from %v to %v: %v answers/s", r.MeasuredFrom, r.MeasuredTo, r.QPS)
	}
}

func TestLatencyKnowsItsLimits(t *testing.T) {
	for _, tt := range []struct {
		count               int
		p50, p90, p99, p999 bool
	}{
		{0, false, false, false, false},
		{1, true, false, false, false},
		{99, true, false, false, false},
		{100, true, true, false, false},
		{999, true, true, false, false},
		{1000, true, true, true, false},
		{9999, true, true, true, false},
		{10000, true, true, true, true},
	} {
		h := newHistogram()
		for i := range tt.count {
			observe(h, time.Duration(i+1)*time.Millisecond)
		}
		lat := Summarize(h)
		got := []bool{lat.P50 != nil, lat.P90 != nil, lat.P99 != nil, lat.P999 != nil, lat.Mean != nil, lat.Max != nil}
		want := []bool{tt.p50, tt.p90, tt.p99, tt.p999, tt.count > 0, tt.count > 0}
		if lat.Count != int64(tt.count) || !reflect.DeepEqual(got, want) {
			t.Errorf("%d observations: %d, %v, want %v", tt.count, lat.Count, got, want)
		}
	}
}

func TestLatencyInMilliseconds(t *testing.T) {
	h := newHistogram()
	for i := range 1000 {
		observe(h, time.Duration(i+1)*100*time.Microsecond) // up to 100 ms
	}
	lat := Summarize(h)
	for _, tt := range []struct {
		name      string
		got, want float64
	}{{"mean", *lat.Mean, 50.05}, {"p50", *lat.P50, 50}, {"p90", *lat.P90, 90}, {"p99", *lat.P99, 99}, {"max", *lat.Max, 100}} {
		if math.Abs(tt.got-tt.want) > tt.want/500 {
			t.Errorf("%s is %v ms, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestLatencyBeyondTheRange(t *testing.T) {
	h := newHistogram()
	observe(h, -time.Second)
	observe(h, 0)
	observe(h, time.Hour)
	if h.TotalCount() != 3 {
		t.Errorf("%d of 3 were recorded", h.TotalCount())
	}
}

// The histograms and counts do not depend on which worker folds which log.
func TestFoldingIsComplete(t *testing.T) {
	const users, each = 7, 500
	cfg := Config{Workload: FlashSale, Users: users, ProductIDs: []int64{7}, Duration: time.Minute}
	var records []record
	want := newHistogram()
	for i := range users * each {
		rec := at(i+1, i%90+1, Class(i%int(classes)), 200, codeID(i%4))
		observe(want, rec.latency)
		records = append(records, rec)
	}
	r := resultOf(cfg, records...)
	if r.Counts.Requests != users*each || r.Len() != users*each {
		t.Errorf("%d of %d requests", r.Counts.Requests, users*each)
	}
	if !reflect.DeepEqual(r.All.Export(), want.Export()) {
		t.Error("the merged histogram differs from one that was filled at once")
	}
}

func TestUserLogKeepsOrder(t *testing.T) {
	const n = 10_000
	log := newUserLog(1)
	for i := range n {
		log.add(&record{orderID: int64(i)})
	}
	next := int64(0)
	log.each(func(rec *record) bool {
		if rec.orderID != next {
			t.Fatalf("got %d, want %d", rec.orderID, next)
		}
		next++
		return true
	})
	if next != n {
		t.Errorf("%d of %d", next, n)
	}
	for _, stop := range []int64{0, firstChunk, n - 1} { // in the first, a middle and the open chunk
		seen := int64(0)
		if log.each(func(rec *record) bool { seen = rec.orderID; return rec.orderID != stop }) || seen != stop {
			t.Errorf("stopped at %d instead of %d", seen, stop)
		}
	}
}

func TestCodeTable(t *testing.T) {
	var table codeTable
	if table.id(nil) != 0 || table.text(0) != "" {
		t.Error("no code is not the empty text")
	}
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for i := range 50 {
				text := fmt.Sprintf("code_%d", i)
				if got := table.text(table.id([]byte(text))); got != text {
					t.Errorf("%s became %s", text, got)
				}
			}
		})
	}
	users.Wait()
	for i := range 2 * maxCodes {
		table.id(fmt.Appendf(nil, "invented_%d", i))
	}
	if n := len(table.known.Load().texts); n != maxCodes {
		t.Errorf("%d codes are remembered", n)
	}
	if got := table.text(table.id([]byte("one more"))); got != codeOther {
		t.Errorf("the code after the last is %q", got)
	}
}

// TestUnanswered: it is the last request that counts, and a refusal is an answer.
func TestUnanswered(t *testing.T) {
	log := func(statuses ...uint16) *userLog {
		l := newUserLog(1)
		for _, status := range statuses {
			l.add(&record{status: status})
		}
		return l
	}
	if n := unanswered([]*userLog{log(), log(201), log(0, 503), log(201, 0), log(0, 0)}); n != 2 {
		t.Errorf("%d users without an answer, want 2", n)
	}
}

// Everything that is done to record one outcome: under 200 ns.
func BenchmarkRecord(b *testing.B) {
	log, counts := newUserLog(1), &counters{}
	rec := at(10, 5, Accepted, 201, 0)
	b.ReportAllocs()
	for b.Loop() {
		log.add(&rec)
		counts.byClass[rec.class].Add(1)
		if len(log.chunks) > 1000 {
			log = newUserLog(1) // or the benchmark measures the machine's memory
		}
	}
}

// Afterwards, for each outcome.
func BenchmarkTally(b *testing.B) {
	tally, rec := newTally(), at(10, 5, Accepted, 201, 0)
	for b.Loop() {
		tally.add(&rec, window{whole: true})
	}
}
