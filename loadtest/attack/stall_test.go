package attack

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"example.com/flashsale/loadtest/schedule"
)

// What a generator must find out about a service that stands still can be computed. At
// a constant rate the orders that are due in a stall of length s wait for its end, the
// first for all of s and the last not at all: their response times are spread evenly
// over s. They are the part s ÷ T of all orders of a run of length T.

// stalled returns the response time at a percentile above 100 − 100·s/T.
func stalled(stall, run, usual time.Duration, percentile float64) time.Duration {
	slower := (1 - percentile/100) * float64(run) / float64(stall) // part of the stalled orders
	return usual + time.Duration((1-slower)*float64(stall))
}

// compareStall says where a histogram is below what must be, and where it is above it
// by more than is tolerated.
func compareStall(h *hdrhistogram.Histogram, stall, run, usual time.Duration, percentiles []float64, less, more float64) (below, above []string) {
	for _, p := range percentiles {
		want, got := stalled(stall, run, usual, p), time.Duration(h.ValueAtQuantile(p))*time.Microsecond
		text := fmt.Sprintf("p%g is %v, want %v", p, got, want)
		switch {
		case float64(got) < (1-less)*float64(want):
			below = append(below, text)
		case float64(got) > (1+more)*float64(want):
			above = append(above, text)
		}
	}
	return below, above
}

// A second in forty: 250 of 10,000 orders. Nothing here depends on the machine, since
// the clock is virtual.
func TestAStallHasTheDistributionThatItMustHave(t *testing.T) {
	for _, users := range []int{400, 128} { // with 128 half of the stalled orders also wait for a connection
		synctest.Test(t, func(t *testing.T) {
			const run, stall, from = 40 * time.Second, time.Second, 20 * time.Second
			begin := time.Now()
			answer := func(int) (record, answer) {
				if since := time.Since(begin); since >= from && since < from+stall {
					sleep(context.Background(), from+stall-since)
				}
				return yes, answer{}
			}
			logs, refused := followAnswered(t.Context(), plan(t, schedule.Plan{Rate: 250, Duration: run}), users, 1000, 5*time.Second, answer)
			result := foldAll(logs, window{to: run, open: true, late: ms})
			if result.accepted.TotalCount() != 10_000 || result.late > 0 || len(refused.dropped) > 0 {
				t.Errorf("%d users: %d accepted, %d late, %d refused", users, result.accepted.TotalCount(), result.late, len(refused.dropped))
			}
			if p50 := result.accepted.ValueAtQuantile(50); p50 < 9_900 || p50 > 10_100 {
				t.Errorf("%d users: p50 is %d µs, want %v", users, p50, workTime)
			}
			percentiles := []float64{98.5, 99, 99.5, 99.9, 100}
			if below, above := compareStall(result.accepted, stall, run, workTime, percentiles, 0.05, 0.05); len(below)+len(above) > 0 {
				t.Errorf("%d users: %v %v", users, below, above)
			}
			// The check finds what is wrong with a generator that counts from the send.
			if below, _ := compareStall(result.service, stall, run, workTime, percentiles, 0.05, 0.05); users == 128 && len(below) == 0 {
				t.Error("service times would pass")
			}
		})
	}
}

// The same through real connections, too few for all orders of the stall. A busy machine can only make answers later, never
// earlier, so more is tolerated in that direction, and it may try again.
func TestAStallOfARealServiceHasThatDistribution(t *testing.T) {
	t.Parallel()
	const run, stall, attempts = 4 * time.Second, time.Second, 3
	percentiles := []float64{90, 95, 99, 99.9, 100}
	for attempt := 1; ; attempt++ {
		service := &stalling{from: 2 * time.Second, to: 2*time.Second + stall, start: sync.OnceValue(time.Now)}
		result, err := Run(t.Context(), openConfig(t, serve(t, service), 64, schedule.Plan{Rate: 400, Duration: run}))
		if err != nil {
			t.Fatal(err)
		}
		if result.Counts.Accepted != 1600 || result.Open.Dropped != 0 {
			t.Fatalf("%d accepted, %d dropped", result.Counts.Accepted, result.Open.Dropped)
		}
		below, above := compareStall(result.Accepted, stall, run, 0, percentiles, 0.05, 0.25)
		switch {
		case len(below) > 0:
			t.Fatalf("orders waited for the end of the stall, but %v", below)
		case len(above) == 0:
			return
		case attempt == attempts:
			t.Fatalf("%v, in each of %d attempts", above, attempts)
		}
		t.Logf("attempt %d: %v", attempt, above)
	}
}
