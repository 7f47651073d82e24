//go:build unix

package runner

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/schedule"
)

func TestMain(m *testing.M) { os.Exit(backing.Main(m, backing.Options{})) }

// realStage starts a stage on a database of its own.
func realStage(t *testing.T, name string) (*stage.Process, *database.DB) {
	t.Helper()
	url, drop, err := backing.NewDatabase(t.Context(), backing.ForTest(t).Postgres.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = drop(context.Background()) })
	binary, err := stage.Build(t.Context(), name, stage.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	process, err := stage.Start(t.Context(), stage.Spec{Name: name, Binary: binary, DatabaseURL: url, Env: []string{"LOG_LEVEL=warn"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Kill)
	db, err := database.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return process, db
}

// stopFor stops a process when so many orders have been accepted, and lets it go on after a while.
func stopFor(process *stage.Process, after int64, pause time.Duration) (watch func(attack.Progress), wait func()) {
	stopped, resumed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(resumed)
		<-stopped
		_ = process.Signal(syscall.SIGSTOP) // the test sees whether it worked
		timer := time.NewTimer(pause)
		<-timer.C
		_ = process.Signal(syscall.SIGCONT)
	}()
	done := false
	watch = func(p attack.Progress) {
		if !done && p.Accepted >= after {
			done = true
			close(stopped)
		}
	}
	return watch, func() {
		if !done {
			close(stopped)
		}
		<-resumed
	}
}

// A stage that stands still for 2 s of 10 s. A tenth of all orders and more waits for longer than a second, but only
// the few that were on their way at that moment have a long service time.
func TestAStoppedStageShowsInTheResponseTime(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a database and a stage")
	}
	const rate, users = 200, 8
	process, db := realStage(t, "stage4-async")
	target, err := Inspect(t.Context(), process.URL)
	if err != nil {
		t.Fatal(err)
	}
	plan := schedule.Plan{Rate: rate, Duration: 10 * time.Second}
	timetable, err := schedule.New(plan)
	if err != nil {
		t.Fatal(err)
	}
	watch, wait := stopFor(process, 3*rate, 2*time.Second)
	run, err := Run(t.Context(), Config{
		Target: target, DB: db, Workload: attack.Sustained, Users: users, Stock: 1_000_000, Duration: plan.Duration, Schedule: timetable, Progress: watch,
	})
	wait()
	if err != nil {
		t.Fatal(err)
	}
	response, service := run.Latency.P99, run.ServiceTime.P99
	if response == nil || *response < 1500 || *response > 3000 {
		t.Errorf("p99 of the response time: %v", run.Latency)
	}
	if service == nil || response != nil && *service > *response/3 {
		t.Errorf("p99 of the service time: %v", *run.ServiceTime)
	}
	if run.Audit.Verdict != audit.OK || *run.Dropped != 0 || *run.Settings.RatePerSecond != rate || run.Requests != 10*rate {
		t.Errorf("%+v, %+v", run, run.Audit)
	}
	t.Logf("response p99 %.0f ms, service p99 %.0f ms; %s", *response, *service, run.VoidReason)
}
