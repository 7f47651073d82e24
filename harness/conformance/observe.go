package conformance

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"example.com/flashsale/harness/contract"
	"example.com/flashsale/harness/stage"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// testHealth checks what the stage says of itself, against what is known from outside.
func testHealth(t *testing.T, s *suite) {
	f := s.start(t, "USER_LATENCY=3ms", "QUEUE_CAP=17", "DB_CONNS=6")
	f.checkRules(contract.In(contract.Service))
	health, err := f.process.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if health.Status != "ok" || health.Stage != s.name || health.Guard != s.opt.Guards[0] || health.Expected != "safe" {
		t.Errorf("/health: %+v, want ok, %s, guard %s, safe", health, s.name, s.opt.Guards[0])
	}
	if health.UserLatencyMS != 3 || health.QueueCap != 17 || health.DBConns < 1 || health.DBConns > 6 || health.Workers < 1 {
		t.Errorf("/health: %+v, want what was set: 3 ms, a queue of 17, at most 6 connections", health)
	}
	if health.Goroutines < 1 || health.CPUs != runtime.NumCPU() || health.GoVersion != runtime.Version() {
		t.Errorf("/health: %+v, want %d CPUs, %s, some goroutines", health, runtime.NumCPU(), runtime.Version())
	}
	f.checkPids(health)
	f.checkWorkers(health)
	f.checkReadiness()
	if s.opt.Processes > 1 {
		t.Run("broken guard", func(t *testing.T) { checkBroken(t, s) })
	}
}

// checkWorkers looks at the list of the workers, which a stage of one process has not.
func (f *fixture) checkWorkers(health stage.Health) {
	f.Helper()
	if len(health.WorkerProcesses) != f.opt.Processes {
		f.Errorf("/health lists %+v, want %d workers", health.WorkerProcesses, f.opt.Processes)
	}
	for slot, worker := range health.WorkerProcesses {
		if worker.Slot != slot || worker.State != stage.Serving || !stage.Running(worker.Pid) || worker.BootMS == nil || worker.AgeSeconds <= 0 {
			f.Errorf("/health: worker %d is %+v", slot, worker)
		}
	}
}

// checkPids compares the process ids in /health with the tree in /proc.
func (f *fixture) checkPids(health stage.Health) {
	f.Helper()
	processes := max(f.opt.Processes, 1)
	if health.Processes != processes || health.MasterPid != f.process.Pid() {
		f.Errorf("/health: %d processes of master %d, want %d of %d", health.Processes, health.MasterPid, processes, f.process.Pid())
	}
	if forks := f.opt.Processes > 0; forks == (health.Pid == health.MasterPid) {
		f.Errorf("/health: pid %d, master %d", health.Pid, health.MasterPid)
	}
	if runtime.GOOS != "linux" {
		return
	}
	if pids := f.process.Tree(); len(pids) != processes && len(pids) != processes+1 {
		f.Errorf("%v run, want %d workers", pids, processes)
	}
}

// checkReadiness asks as a client does, and as a container's health check does.
func (f *fixture) checkReadiness() {
	f.Helper()
	if a := f.mustSend(http.MethodGet, "/ready", "", nil); a.Status != http.StatusOK {
		f.Errorf("/ready: %d %s", a.Status, a.Body)
	}
	check := f.command("--check", "--addr", f.process.Addr)
	if output, err := check.CombinedOutput(); err != nil {
		f.Errorf("--check on a stage that is ready: %v %s", err, output)
	}
}

// checkBroken starts the stage with a guard that cannot be safe in several processes; it has to say so.
func checkBroken(t *testing.T, s *suite) {
	f := s.start(t, "GUARD=mutex")
	health, err := f.process.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if health.Guard != "mutex" || health.Expected != "broken" {
		t.Errorf("/health: %+v, want guard mutex, broken", health)
	}
}

// testMetrics parses /metrics as Prometheus would and looks for the process figures.
func testMetrics(t *testing.T, s *suite) {
	f := s.start(t)
	f.mustBuy(contract.Buy(f.product(1)))
	a := f.mustSend(http.MethodGet, "/metrics", "", nil)
	if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("/metrics: status %d, content type %q", a.Status, a.Header.Get("Content-Type"))
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(a.Body))
	if err != nil {
		t.Fatal(err)
	}
	f.checkSums()
	for what, words := range map[string][]string{
		"CPU time": {"cpu", "seconds"}, "threads": {"threads"}, "goroutines": {"goroutines"}, "context switches": {"context_switches"}, "memory": {"resident_memory"},
		"orders": {"orders", "total"},
	} {
		if !hasFamily(families, words) {
			t.Errorf("/metrics has no figure of %s: no name with %v", what, words)
		}
	}
}

// checkSums asks over several connections: whichever worker answers, the orders of all are counted.
func (f *fixture) checkSums() {
	f.Helper()
	const orders = 12
	product := f.product(orders)
	for range orders {
		f.mustBuy(contract.Buy(product))
	}
	for range 2 * max(f.opt.Processes, 1) {
		if figures, ok := f.counts(orders + 1); !ok {
			f.Errorf("/metrics does not count %d accepted orders but\n%s", orders+1, figures)
		}
	}
}

// counts says whether /metrics, which it returns, counts so many accepted orders.
func (f *fixture) counts(orders int64) (figures string, ok bool) {
	f.Helper()
	figures = string(f.mustSend(http.MethodGet, "/metrics", "", nil).Body)
	return figures, strings.Contains(figures, fmt.Sprintf("\nflashsale_orders_total{outcome=\"accepted\"} %d\n", orders))
}

func hasFamily(families map[string]*dto.MetricFamily, words []string) bool {
	for name := range families {
		matches := true
		for _, word := range words {
			matches = matches && strings.Contains(name, word)
		}
		if matches {
			return true
		}
	}
	return false
}
