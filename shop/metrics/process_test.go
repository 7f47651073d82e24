package metrics

import (
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
)

// gathered returns the sum of each family.
func gathered(t *testing.T, register func(prometheus.Registerer)) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	register(reg)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if f.GetType() == dto.MetricType_COUNTER != (m.Counter != nil) {
				t.Errorf("%s is of another type than it says", f.GetName())
			}
		}
	}
	return values
}

// TestProcess: the figures of a process agree with what client_golang's own collector finds.
func TestProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("there is no /proc")
	}
	file, err := os.Open(os.DevNull) // one more than the three that every process has
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	theirs := gathered(t, func(reg prometheus.Registerer) {
		reg.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	})
	ours := gathered(t, Register)
	near := map[string]float64{ // what may have changed between the two
		"process_cpu_seconds_total": 5, "process_resident_memory_bytes": 64 << 20, "process_virtual_memory_bytes": 1 << 30,
		"process_open_fds": 3, "process_max_fds": 0, "process_start_time_seconds": .02,
	}
	for name, tolerance := range near {
		got, there := ours[name]
		if want := theirs[name]; !there || got < want-tolerance || got > want+tolerance {
			t.Errorf("%s = %v (there: %v), client_golang says %v", name, got, there, want)
		}
	}
	if ours["process_open_fds"] < 4 {
		t.Errorf("process_open_fds = %v, want at least 4", ours["process_open_fds"])
	}
	if age := time.Since(time.Unix(int64(ours["process_start_time_seconds"]), 0)); age < 0 || age > time.Hour {
		t.Errorf("this process is %v old", age)
	}
}

// TestRegister: what dashboards and loadtest look for is there, and the costly families are not.
func TestRegister(t *testing.T) {
	got := gathered(t, Register)
	for _, name := range []string{
		"go_goroutines", "go_threads", "go_memory_classes_heap_objects_bytes", "go_gc_heap_allocs_bytes_total",
		"flashsale_cpu_seconds_total", "flashsale_context_switches_total",
	} {
		if got[name] <= 0 {
			t.Errorf("%s = %v, want more than 0", name, got[name])
		}
	}
	for _, name := range []string{"go_memstats_heap_alloc_bytes", "process_network_receive_bytes_total"} {
		if _, there := got[name]; there {
			t.Errorf("%s is there: it costs every scrape more than it tells", name)
		}
	}
}
