package service

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/metrics"
	"example.com/flashsale/shop/prefork"
)

// asWorker returns the topology of a worker of a master that tells of this process and of one that starts.
func asWorker(folder metrics.Folder) Topology {
	now := time.Now()
	return Topology{
		MasterPID: 4711, Processes: 3, Workers: 2, DBConns: 6, Slot: 1, Wanted: func() int { return 2 }, folder: folder,
		Roster: func() prefork.Roster {
			return prefork.Roster{MasterPID: 4711, Wanted: 2, Workers: []prefork.Member{
				{Slot: 0, PID: 4712, State: prefork.Starting, Started: now},
				{Slot: 1, PID: os.Getpid(), State: prefork.Serving, Started: now.Add(-time.Minute), Ready: now.Add(-59 * time.Second), Requests: 7},
			}}
		},
	}
}

// TestHealthListsTheWorkers: with what the master says of them.
func TestHealthListsTheWorkers(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.Conditional)
	r := serve(t, cfg, open(t, cfg), asWorker(""), newSlow())
	var health struct {
		Processes int
		Workers   []struct {
			Slot, PID  int
			State      string
			Requests   uint64
			AgeSeconds float64  `json:"age_seconds"`
			BootMS     *float64 `json:"boot_ms"`
		} `json:"worker_processes"`
	}
	if err := json.Unmarshal([]byte(send(t.Context(), http.MethodGet, r.url+"/health", "").body), &health); err != nil {
		t.Fatal(err)
	}
	if health.Processes != 2 || len(health.Workers) != 2 {
		t.Fatalf("%+v", health)
	}
	starting, serving := health.Workers[0], health.Workers[1]
	if starting.State != "starting" || starting.BootMS != nil || starting.PID != 4712 {
		t.Errorf("%+v", starting)
	}
	if serving.Slot != 1 || serving.State != "serving" || serving.Requests != 7 || serving.AgeSeconds < 60 || serving.BootMS == nil || *serving.BootMS != 1000 {
		t.Errorf("%+v", serving)
	}
	if ready := send(t.Context(), http.MethodGet, r.url+"/ready", ""); ready.status != http.StatusServiceUnavailable {
		t.Errorf("/ready answers %d before all workers have served", ready.status)
	}
	r.stop()
	r.wantClean(t)
}

// TestMetricsOfWorkers: process figures have the worker's label, and the workers are counted.
func TestMetricsOfWorkers(t *testing.T) {
	t.Parallel()
	folder, err := metrics.NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Remove()
	cfg := config(newDatabase(t), guard.Conditional)
	r := serve(t, cfg, open(t, cfg), asWorker(folder), newSlow())
	body := send(t.Context(), http.MethodGet, r.url+"/metrics", "").body
	for _, line := range []string{
		`go_goroutines{worker="1"} `, `flashsale_cpu_seconds_total{mode="user",worker="1"} `, `flashsale_orders_total{outcome="accepted"} 0`,
		`flashsale_workers{state="serving"} 1`, `flashsale_workers{state="starting"} 1`, `flashsale_workers_silent 0`,
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("/metrics has no line %s\n%s", line, body)
		}
	}
	r.stop()
	r.wantClean(t)
}

// TestOrphanRemovesTheFolder: the master cannot do it any more.
func TestOrphanRemovesTheFolder(t *testing.T) {
	t.Parallel()
	folder, err := metrics.NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(newDatabase(t), guard.Conditional)
	topology := asWorker(folder)
	var die context.CancelFunc
	topology.MasterLife, die = context.WithCancel(t.Context())
	r := serve(t, cfg, open(t, cfg), topology, newSlow())
	send(t.Context(), http.MethodGet, r.url+"/health", "")
	die()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); ; {
		if _, err := os.Stat(string(folder)); os.IsNotExist(err) {
			break
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the folder is still there")
		}
	}
	r.stop()
	r.wantClean(t)
}

// TestBeat: a worker at rest beats.
func TestBeat(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.Conditional)
	var check atomic.Pointer[func() bool]
	topology := asWorker("")
	topology.BeatIf = func(f func() bool) { check.Store(&f) }
	r := serve(t, cfg, open(t, cfg), topology, newSlow())
	send(t.Context(), http.MethodGet, r.url+"/health", "")
	if f := check.Load(); f == nil || !(*f)() {
		t.Error("it does not beat")
	}
	r.stop()
	r.wantClean(t)
}

// TestBusyShare: orders in flight by those that can be worked on at once, and never more than all of the time.
func TestBusyShare(t *testing.T) {
	t.Parallel()
	var flight time.Duration
	inFlight := func() time.Duration { return flight }
	one, many := busyShare(inFlight, 1), busyShare(inFlight, 1_000_000_000)
	flight = time.Hour
	if got := one(); got != 1 {
		t.Errorf("%v, want 1: more orders than it can work on", got)
	}
	if got := many(); got < 0 || got > 1 {
		t.Errorf("%v, want its share of a core", got)
	}
}
