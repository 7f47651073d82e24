package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/audit"
)

// fakeStage answers as a stage does whose orders cost nothing.
func fakeStage(t *testing.T, health stage.Health) string {
	t.Helper()
	var orders atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(health) })
	mux.HandleFunc("GET /products/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") == "404" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprint(w, `{"code":"product_not_found"}`)
		}
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		n := orders.Load()
		_, _ = fmt.Fprintf(w, "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %g\n"+
			"# TYPE flashsale_context_switches_total counter\nflashsale_context_switches_total{kind=\"voluntary\"} %d\n"+
			"flashsale_context_switches_total{kind=\"involuntary\"} 5\n# TYPE go_goroutines gauge\ngo_goroutines 12\n", 1+float64(n)/1000, 100+3*n)
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"order_id":%d,"status":"created","total_cents":1999}`, orders.Add(1))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestInspect(t *testing.T) {
	health := stage.Health{Stage: "stage4-async", Guard: "conditional", Expected: "safe", Processes: 1}
	target, err := Inspect(t.Context(), fakeStage(t, health)+"/")
	if err != nil || target.Stage() != "stage4-async" || !target.Auditable() || strings.HasSuffix(target.URL, "/") {
		t.Errorf("stage: %+v, %v", target, err)
	}
	health.Guard = guardNoOp
	if target, err := Inspect(t.Context(), fakeStage(t, health)); err != nil || target.Auditable() {
		t.Errorf("noop: %+v, %v", target, err)
	}
	for name, handler := range map[string]http.Handler{"404": http.NotFoundHandler(), "empty": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})} {
		foreign := httptest.NewServer(handler)
		if target, err := Inspect(t.Context(), foreign.URL); err != nil || target.Health != nil || target.Stage() != "" {
			t.Errorf("foreign, %s: %+v, %v", name, target, err)
		}
		foreign.Close()
		if _, err := Inspect(t.Context(), foreign.URL); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("closed, %s: %v", name, err)
		}
	}
}

// What a target says of itself goes to the terminal while it runs.
func TestInspectCleansWhatATargetSays(t *testing.T) {
	long := strings.Repeat("ä", 10_000)
	health := stage.Health{
		Stage: "stage\x1b[2J\x1b]0;title\a", Guard: "a\nb\r\u202ec", Expected: "safe", Version: long, WorkerProcesses: []stage.Worker{{State: "\x1b[31m"}},
	}
	target, err := Inspect(t.Context(), fakeStage(t, health))
	if err != nil {
		t.Fatal(err)
	}
	h := target.Health
	if want := "stage\ufffd[2J\ufffd]0;title\ufffd"; h.Stage != want || target.Stage() != want {
		t.Errorf("stage %q", h.Stage)
	}
	if h.Guard != "a\ufffdb\ufffd\ufffdc" || h.Expected != "safe" || h.WorkerProcesses[0].State != "\ufffd[31m" {
		t.Errorf("%+v", h)
	}
	if want := strings.Repeat("ä", maxName) + "…"; h.Version != want {
		t.Errorf("version %q", h.Version)
	}
}

func TestCheckProduct(t *testing.T) {
	target := Target{URL: fakeStage(t, stage.Health{Stage: "s"}), Health: &stage.Health{}}
	if err := target.checkProduct(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if err := target.checkProduct(t.Context(), 404); err == nil || !strings.Contains(err.Error(), "another database") {
		t.Errorf("unknown product: %v", err)
	}
	target.Health = nil
	if err := target.checkProduct(t.Context(), 404); err != nil {
		t.Errorf("foreign target: %v", err)
	}
}

func TestLocalMeter(t *testing.T) {
	url := fakeStage(t, stage.Health{})
	at := func(url string, pid int) Target { return Target{URL: url, Health: &stage.Health{MasterPid: pid}} }
	if meter := LocalMeter(t.Context(), at(url, os.Getpid())); meter == nil {
		t.Error("own process: not measured")
	} else if usage := meter(time.Millisecond).Stop(); usage.ProcessesMax == 0 {
		t.Errorf("own process: %+v", usage)
	}
	for name, target := range map[string]Target{
		"another process":  at(url, os.Getppid()),
		"no process":       at(url, 1<<30),
		"remote":           at("http://192.0.2.1:8080", os.Getpid()),
		"nobody's port":    at("http://127.0.0.1:1", os.Getpid()),
		"foreign":          {URL: url},
		"address, no port": at("http://127.0.0.1", os.Getpid()),
	} {
		if LocalMeter(t.Context(), target) != nil {
			t.Errorf("%s: measured", name)
		}
	}
}

func TestRunWithoutDatabase(t *testing.T) {
	target, err := Inspect(t.Context(), fakeStage(t, stage.Health{Stage: "stage3-threads", Guard: "mutex", Expected: "safe", Processes: 1, Workers: 8, UserLatencyMS: 20}))
	if err != nil {
		t.Fatal(err)
	}
	run, err := Run(t.Context(), Config{
		Target: target, ProductIDs: []int64{1}, Workload: attack.Sustained, Users: 2, Seed: 1, Duration: 200 * time.Millisecond, Warmup: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if run.Stage != "stage3-threads" || run.Guard != "mutex" || run.Expected != "safe" || run.Audit != nil || run.Settings.Stock != nil {
		t.Errorf("%+v", run)
	}
	if s := run.Settings; s.DurationSeconds != 0.2 || s.WarmupSeconds != 0.05 || *s.ClientTimeoutSeconds != 5 || *s.Workers != 8 || *s.UserLatencyMS != 20 {
		t.Errorf("settings %+v", s)
	}
	if run.GeneratorMemory == nil || *run.GeneratorMemory < 1<<20 {
		t.Errorf("the generator held %v bytes", run.GeneratorMemory)
	}
	if run.Accepted == 0 || run.Requests != run.Accepted || run.OrdersPerSecond <= 0 || run.Latency.P50 == nil {
		t.Errorf("figures %+v", run)
	}
	var counted int64
	for _, p := range run.Series {
		counted += p.Accepted
	}
	if len(run.Series) != 1 || counted < run.Accepted || run.Series[0].CPUCores == nil || run.Series[0].StockLeft != nil || len(run.LatenciesUS[0]) != int(counted) {
		t.Errorf("series %+v", run.Series)
	}
	r := run.Resources
	if r.PSSBytesMax != nil || r.DBConnectionsMax != nil || *r.GoroutinesMax != 12 || *r.ContextSwitchesInvoluntary != 0 {
		t.Errorf("resources %+v", r)
	}
	// The fake's counters grow with each order, warm-up included.
	if *r.CPUUSPerOrder < 999 || *r.CPUUSPerOrder > 1001 || *r.ContextSwitchesPerOrder != 3 {
		t.Errorf("per order: %v µs, %v switches", *r.CPUUSPerOrder, *r.ContextSwitchesPerOrder)
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	target, err := Inspect(t.Context(), fakeStage(t, stage.Health{Stage: "s"}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Run(ctx, Config{
		Target: target, ProductIDs: []int64{1}, Workload: attack.Sustained, Users: 2, Duration: time.Minute,
		Progress: func(p attack.Progress) {
			if p.Accepted > 0 {
				cancel()
			}
		},
	})
	if err == nil {
		t.Error("no error")
	}
}

func TestFlashSaleHasNoWarmup(t *testing.T) {
	cfg := attackConfig(Config{Workload: attack.FlashSale, Duration: time.Second, Warmup: time.Second})
	if cfg.Warmup != 0 || cfg.Duration != time.Second {
		t.Errorf("%+v", cfg)
	}
	cfg = attackConfig(Config{Workload: attack.Sustained, Duration: time.Second, Warmup: time.Second})
	if cfg.Warmup != time.Second || cfg.Duration != 2*time.Second {
		t.Errorf("the duration is that of the measurement: %+v", cfg)
	}
}

func TestClassesHaveTheSameNames(t *testing.T) {
	want := map[attack.Class]audit.Class{
		attack.Accepted: audit.Accepted, attack.Replayed: audit.Replayed, attack.Rejected: audit.Rejected,
		attack.Failed: audit.Failed, attack.Unknown: audit.Unknown,
	}
	for from, to := range want {
		if got := class(from); got != to {
			t.Errorf("%v became %d, not %d", from, got, to)
		}
	}
}

func TestScrapesOfTwoProcessesTellNothing(t *testing.T) {
	target := Target{URL: fakeStage(t, stage.Health{}), Health: &stage.Health{Processes: 4}}
	if scraped := scrapeMetrics(t.Context(), target); scraped != nil {
		t.Errorf("%v", scraped)
	}
	if r := (scrape)(nil).until(nil); r.CPUSeconds != nil || r.ProcessesMax != nil {
		t.Errorf("%+v", r)
	}
}
