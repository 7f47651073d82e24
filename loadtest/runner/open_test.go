package runner

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/schedule"
)

// Each answer is in time, and yet too late for an order that has waited for the only connection before: it is no good.
func TestGoodputKeepsToTheClientTimeout(t *testing.T) {
	const patience, takes = 100 * time.Millisecond, 80 * time.Millisecond
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(takes)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"order_id":7,"total_cents":1999}`)
	}))
	defer service.Close()
	timetable, err := schedule.New(schedule.Plan{Rate: 5, Peak: 40, Profile: schedule.Spike, SpikeFor: time.Second, Duration: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	run, err := Run(t.Context(), Config{
		Target: Target{URL: service.URL}, ProductIDs: []int64{1}, Workload: attack.Sustained, Users: 1, Seed: 1, Duration: 2 * time.Second,
		Schedule: timetable, Patience: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	o := run.Overload
	if o == nil || o.Other == 0 {
		t.Fatalf("orders that were accepted too late are good: %+v", o)
	}
	if o.P99MS != nil && *o.P99MS > float64(patience.Milliseconds()) {
		t.Errorf("a good order took %v ms, and its buyer waited for %v", *o.P99MS, patience)
	}
	if seconds := run.Settings.ClientTimeoutSeconds; seconds == nil || *seconds != patience.Seconds() {
		t.Errorf("client time-out %v", seconds)
	}
}
