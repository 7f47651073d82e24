package attack

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"example.com/flashsale/loadtest/schedule"
)

const ms = time.Millisecond

func plan(t testing.TB, p schedule.Plan) *schedule.Schedule {
	t.Helper()
	s, err := schedule.New(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openConfig drives url at a rate.
func openConfig(t testing.TB, url string, users int, p schedule.Plan) Config {
	return Config{
		Target: url, Workload: Sustained, Users: users, ProductIDs: []int64{7},
		Duration: p.Warmup + p.Duration, Warmup: p.Warmup, Schedule: plan(t, p),
	}
}

// follow runs a pacer and users in a synctest bubble against a service that takes
// workTime, and returns their logs and what the pacer could not place.
func follow(ctx context.Context, s *schedule.Schedule, users, room int, patience time.Duration) (logs []*userLog, refused *userLog) {
	return followAnswered(ctx, s, users, room, patience, said(yes))
}

// followAnswered is follow with a service that answers like that.
func followAnswered(
	ctx context.Context, s *schedule.Schedule, users, room int, patience time.Duration, answer func(int) (record, answer),
) (logs []*userLog, refused *userLog) {
	start := time.Now()
	now := func() time.Duration { return time.Since(start) }
	queue := make(chan time.Duration, room)
	p := &pacer{times: s.Times(), now: now, queue: queue, refused: newUserLog(0), dropped: &counters{}, wait: func(d time.Duration) error {
		if !sleep(ctx, d) {
			return ctx.Err()
		}
		return nil
	}}
	var everybody sync.WaitGroup
	everybody.Go(func() { p.run(ctx) })
	for i := range users {
		u := &user{
			sender:    &fakeService{start: start, answer: answer},
			behaviour: &flashBuyer{},
			keys:      newKeySource(), log: newUserLog(int64(i)), counters: &counters{},
		}
		logs = append(logs, u.log)
		everybody.Go(func() { u.serve(ctx, queue, now, patience, DefaultLagTolerance) })
	}
	everybody.Wait()
	return logs, p.refused
}

func TestOpenModelSendsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := plan(t, schedule.Plan{Rate: 100, Peak: 400, Profile: schedule.Ramp, Duration: time.Second})
		logs, refused := follow(t.Context(), s, 8, 100, time.Second)
		var sent []time.Duration
		for _, log := range logs {
			log.each(func(rec *record) bool {
				if rec.waitedUS != 0 || rec.latency != workTime {
					t.Errorf("waited %v, took %v", rec.waited(), rec.latency)
				}
				sent = append(sent, rec.sentAt)
				return true
			})
			if log.open == nil || len(log.dropped) > 0 {
				t.Errorf("a user sent %d and dropped %d", len(log.open), len(log.dropped))
			}
		}
		slices.Sort(sent)
		if want := slices.Collect(s.Times()); !slices.Equal(sent, want) || len(refused.dropped) > 0 {
			t.Errorf("sent %d at %v, want %d at %v", len(sent), sent, len(want), want)
		}
	})
}

// One connection can send 100 a second, but 200 are due.
func TestOverloadWaitsAndDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := plan(t, schedule.Plan{Rate: 200, Duration: time.Second})
		logs, refused := follow(t.Context(), s, 1, 1000, 200*ms)
		tally := newTally()
		w := window{from: 0, to: time.Second, open: true, late: ms}
		logs[0].each(func(rec *record) bool { tally.add(rec, w); return true })
		tally.addOpen(logs[0], w)
		sent := tally.lag.TotalCount()
		if sent+tally.dropped != 200 || tally.dropped < 70 || tally.dropped > 90 || len(refused.dropped) > 0 {
			t.Errorf("%d sent, %d dropped, %d refused", sent, tally.dropped, len(refused.dropped))
		}
		// The generator did what it could.
		if tally.late != 0 || tally.lag.Max() > 1 || tally.queued < sent-2 {
			t.Errorf("%d late, lag up to %d µs, %d queued", tally.late, tally.lag.Max(), tally.queued)
		}
		if longest := tally.accepted.Max(); longest < 200_000 || longest > 211_000 {
			t.Errorf("responses up to %d µs: want the patience and an answer", longest)
		}
		if tally.service.Max() > 10_010 {
			t.Errorf("service times up to %d µs", tally.service.Max())
		}
		if tally.sold > 100 {
			t.Errorf("%d sold in the window: what came after it does not count as its rate", tally.sold)
		}
	})
}

func TestAFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := plan(t, schedule.Plan{Rate: 1000, Duration: 100 * ms})
		logs, refused := follow(t.Context(), s, 1, 5, time.Minute)
		sent := 0
		logs[0].each(func(*record) bool { sent++; return true })
		if sent+len(refused.dropped) != 100 || sent > 16 || len(logs[0].dropped) > 0 {
			t.Errorf("%d sent, %d refused", sent, len(refused.dropped))
		}
	})
}

func TestOpenModelEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*ms)
		defer cancel()
		start := time.Now()
		follow(ctx, plan(t, schedule.Plan{Rate: 1, Duration: time.Hour}), 2, 10, time.Second)
		if took := time.Since(start); took > 100*ms {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestLagIsNotTheWaitForAConnection(t *testing.T) {
	tests := []struct {
		name                string
		due, sent           time.Duration // of the second order; the first keeps the connection from 0 to 100 ms
		late, queued, lagMS int64
	}{
		{"on time", 200 * ms, 200 * ms, 0, 0, 0},
		{"a little late", 200 * ms, 205 * ms, 0, 0, 5},
		{"late", 200 * ms, 220 * ms, 1, 0, 20},
		{"no connection", 50 * ms, 100 * ms, 0, 1, 0},
		{"no connection, and then late", 50 * ms, 130 * ms, 1, 1, 30},
		{"outside of the window", 2 * time.Second, 3 * time.Second, 0, 0, 0},
	}
	for _, tt := range tests {
		log := newUserLog(1)
		log.add(&record{latency: 100 * ms})
		log.add(&record{sentAt: tt.sent, waitedUS: micros(tt.sent - tt.due), latency: ms})
		tally := newTally()
		tally.addOpen(log, window{from: ms, to: time.Second, open: true, late: 10 * ms})
		lag := tally.lag.Max() / 1000
		if tally.late != tt.late || tally.queued != tt.queued || lag != tt.lagMS {
			t.Errorf("%s: %d late, %d queued, lag %d ms", tt.name, tally.late, tally.queued, lag)
		}
	}
}

func TestVoid(t *testing.T) {
	for _, o := range []Open{{LateShare: 0.01, CPUShare: 0.9}, {}} {
		if o.Void() != "" {
			t.Errorf("%+v is void: %s", o, o.Void())
		}
	}
	if s := (&Open{LateShare: 0.011, LagTolerance: ms}).Void(); !strings.Contains(s, "1.1 % of the requests more than 1ms late") {
		t.Error(s)
	}
	if s := (&Open{CPUShare: 0.95}).Void(); !strings.Contains(s, "used 95 % of all processors") {
		t.Error(s)
	}
}

// stalling is a service that answers nobody between two moments, like a process that
// was stopped for a while.
type stalling struct {
	from, to time.Duration
	start    func() time.Time
	orders   atomic.Int64
}

func (s *stalling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var order sentOrder
	_ = json.NewDecoder(r.Body).Decode(&order)
	if since := time.Since(s.start()); since >= s.from && since < s.to {
		select {
		case <-time.After(s.to - since):
		case <-r.Context().Done():
		}
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprintf(w, `{"order_id":%d,"total_cents":1999}`, s.orders.Add(1))
}

// A stall of half a second in five: a tenth of all orders is due in it, and the slowest
// hundredth of all waits for nearly the whole of it. But only those eight that were on
// their way have a long service time.
func TestAStallShowsInTheResponseTime(t *testing.T) {
	t.Parallel()
	begin := sync.OnceValue(time.Now)
	service := &stalling{from: 2 * time.Second, to: 2500 * ms, start: begin}
	cfg := openConfig(t, serve(t, service), 8, schedule.Plan{Rate: 400, Duration: 5 * time.Second})
	result, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	response, own := Summarize(result.Accepted), Summarize(result.Open.Service)
	if result.Counts.Accepted+result.Open.Dropped != 2000 || result.Open.Dropped != 0 {
		t.Errorf("%d accepted, %d dropped", result.Counts.Accepted, result.Open.Dropped)
	}
	if response.P99 == nil || *response.P99 < 400 || *response.P99 > 800 {
		t.Errorf("p99 of the response time is %v ms", *response.P99)
	}
	if own.P99 == nil || *own.P99 > *response.P99/2 {
		t.Errorf("p99 of the service time is %v ms", *own.P99)
	}
	if result.Open.Queued < 150 {
		t.Errorf("%d waited for a connection", result.Open.Queued)
	}
	for o := range result.Outcomes() {
		if o.DueAt() > o.SentAt || o.Waited < 0 {
			t.Fatalf("%+v", o)
		}
	}
}

func TestOpenRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cfg := openConfig(t, serve(t, &stalling{start: time.Now}), 2, schedule.Plan{Rate: 0.01, Duration: time.Hour})
	cfg.ProgressEvery = ms
	cfg.Progress = func(p Progress) {
		if p.Requests() > 0 { // the next one is due in 100 s
			cancel()
		}
	}
	begin := time.Now()
	if result, err := Run(ctx, cfg); err == nil || !result.Interrupted || time.Since(begin) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// A service closes connections that rest for long. That is no failure: nothing was sent. They rest for 250 ms here, so that
// no order is sent at the very moment of the close.
func TestAConnectionThatRestedTooLongIsReplaced(t *testing.T) {
	t.Parallel()
	server := serveWire(t, func(_ *wireServer, wire net.Conn, _ int) {
		_ = wire.SetReadDeadline(time.Now().Add(20 * ms))
		from := bufio.NewReader(wire)
		for {
			if _, err := readRequest(from); err != nil {
				return
			}
			_ = wire.SetReadDeadline(time.Now().Add(20 * ms))
			_, _ = wire.Write([]byte(receipt))
		}
	})
	result, err := Run(t.Context(), openConfig(t, server.url, 8, schedule.Plan{Rate: 4, Duration: 2 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	if result.Counts.Accepted != 8 {
		t.Errorf("%+v", result.Counts)
	}
}

func TestOpenConfigIsChecked(t *testing.T) {
	cfg := openConfig(t, "http://127.0.0.1:1", 1, schedule.Plan{Rate: 1, Duration: time.Second})
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	other := cfg
	other.Duration *= 2
	if err := other.Validate(); err == nil || !strings.Contains(err.Error(), "cannot follow a schedule of 1s") {
		t.Errorf("got %v", err)
	}
	other = cfg
	other.Workload = FlashSale
	if err := other.Validate(); err == nil || !strings.Contains(err.Error(), "flash-sale has no rate") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkPrecision reports how late requests are sent at 5,000 a second.
func BenchmarkPrecision(b *testing.B) {
	server := rawServer(b)
	for b.Loop() {
		result, err := Run(b.Context(), openConfig(b, server, 64, schedule.Plan{Rate: 5000, Duration: 3 * time.Second}))
		if err != nil {
			b.Fatal(err)
		}
		reportLag(b, result.Open.Lag)
		b.ReportMetric(100*result.Open.CPUShare, "%cpu")
	}
}

// BenchmarkBareLoop reports how late a loop is that does nothing but wait 5,000 times a
// second: what this machine lets a generator have at best.
func BenchmarkBareLoop(b *testing.B) {
	for name, slice := range map[string]func() func(){"usual": func() func() { return func() {} }, "short": wakeSooner} {
		b.Run(name, func(b *testing.B) {
			a, err := newAlarm(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer a.close()
			undo := slice()
			defer undo()
			for b.Loop() {
				reportLag(b, bareLoop(b, a, plan(b, schedule.Plan{Rate: 5000, Duration: 3 * time.Second})))
			}
		})
	}
}

// bareLoop waits for each time of a schedule and returns how late it was.
func bareLoop(b *testing.B, a *alarm, s *schedule.Schedule) *hdrhistogram.Histogram {
	b.Helper()
	lag, start := newHistogram(), time.Now()
	for due := range s.Times() {
		if rest := due - time.Since(start); rest > 0 {
			if err := a.wait(rest); err != nil {
				b.Fatal(err)
			}
		}
		observe(lag, time.Since(start)-due)
	}
	return lag
}

// reportLag reports the precision of a benchmark's sends.
func reportLag(b *testing.B, lag *hdrhistogram.Histogram) {
	b.Helper()
	within := 0.0
	for _, bar := range lag.Distribution() {
		if bar.To <= 1000 {
			within += float64(bar.Count)
		}
	}
	b.ReportMetric(100*within/float64(lag.TotalCount()), "%≤1ms")
	b.ReportMetric(float64(lag.ValueAtQuantile(50)), "p50-µs")
	b.ReportMetric(float64(lag.ValueAtQuantile(99.9)), "p99.9-µs")
	b.ReportMetric(float64(lag.Max()), "max-µs")
}

// rawServer answers every request of a few hundred bytes with a receipt.
func rawServer(b *testing.B) string {
	return serveWire(b, func(_ *wireServer, wire net.Conn, _ int) {
		buf := make([]byte, 4096)
		for {
			if _, err := wire.Read(buf); err != nil {
				return
			}
			if _, err := wire.Write([]byte(receipt)); err != nil {
				return
			}
		}
	}).url
}

func TestStartTime(t *testing.T) {
	t.Parallel()
	service := &shop{stock: map[int64]int{7: 1}, orders: map[string]int64{}}
	cfg := Config{Target: serve(t, service), Workload: FlashSale, Users: 2, ProductIDs: []int64{7}, Duration: 10 * time.Second}
	cfg.StartAt = time.Now().Add(200 * ms)
	result, err := Run(t.Context(), cfg)
	if err != nil || result.Start.Before(cfg.StartAt) || result.Start.After(cfg.StartAt.Add(5*time.Second)) {
		t.Errorf("%+v, %v", result, err)
	}
	if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "after the start time") {
		t.Errorf("a time that has passed: %v", err)
	}
}
