package metrics

import (
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Register adds the figures of this process: of Go's runtime, of /proc, and of getrusage(2). It panics when they are there
// already.
func Register(reg prometheus.Registerer) { reg.MustRegister(newGo(), newProcess(), rusage{}) }

// goFigures are those of Go's memory that are worth their place: every worker shows each of them, for every scrape.
var goFigures = regexp.MustCompile(`^/(memory/classes/(heap/objects|total):bytes|gc/heap/(allocs|goal):bytes)$`)

// newGo returns what collects the figures of Go's runtime. The two dozen of runtime.MemStats are left out: with them a
// scrape of eight workers takes half as long again.
func newGo() prometheus.Collector {
	return collectors.NewGoCollector(collectors.WithGoCollectorMemStatsMetricsDisabled(),
		collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: goFigures}))
}

// process collects what /proc knows of this process, under the names that client_golang gives. client_golang's own
// collector needs ten times as long, and every worker pays it for each scrape: it reads the counters of the whole
// network, which are no figures of a process, and the time of boot.
type process struct {
	proc    procfs.Proc
	started float64 // seconds since 1970; it does not change
}

// newProcess returns what collects the figures of this process. Where there is no /proc it is client_golang's.
func newProcess() prometheus.Collector {
	proc, err := procfs.Self()
	if err != nil {
		return collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
	}
	p := process{proc: proc}
	if stat, err := proc.Stat(); err == nil {
		p.started, _ = stat.StartTime() // 0 where /proc hides it
	}
	return p
}

var (
	processCPU = prometheus.NewDesc("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", nil, nil)
	processRSS = prometheus.NewDesc("process_resident_memory_bytes", "Resident memory size in bytes.", nil, nil)
	processVM  = prometheus.NewDesc("process_virtual_memory_bytes", "Virtual memory size in bytes.", nil, nil)
	processFDs = prometheus.NewDesc("process_open_fds", "Number of open file descriptors.", nil, nil)
	processMax = prometheus.NewDesc("process_max_fds", "Maximum number of open file descriptors.", nil, nil)
	processAge = prometheus.NewDesc("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", nil, nil)
)

// Describe implements prometheus.Collector.
func (process) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{processCPU, processRSS, processVM, processFDs, processMax, processAge} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. What cannot be read is left out.
func (p process) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	if stat, err := p.proc.Stat(); err == nil {
		ch <- prometheus.MustNewConstMetric(processCPU, prometheus.CounterValue, stat.CPUTime())
		gauge(processRSS, float64(stat.ResidentMemory()))
		gauge(processVM, float64(stat.VirtualMemory()))
	}
	if open, err := p.proc.FileDescriptorsLen(); err == nil {
		gauge(processFDs, float64(open))
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		gauge(processMax, float64(limit.Cur))
	}
	if p.started > 0 {
		gauge(processAge, p.started)
	}
}

// rusage collects what getrusage(2) counts over all threads of the process.
type rusage struct{}

var (
	cpuSeconds = prometheus.NewDesc("flashsale_cpu_seconds_total",
		"CPU time of this process, by mode (getrusage).", []string{"mode"}, nil)
	switches = prometheus.NewDesc("flashsale_context_switches_total",
		"Context switches of this process, by kind (getrusage).", []string{"kind"}, nil)
)

// Describe implements prometheus.Collector.
func (rusage) Describe(ch chan<- *prometheus.Desc) {
	ch <- cpuSeconds
	ch <- switches
}

// Collect implements prometheus.Collector.
func (rusage) Collect(ch chan<- prometheus.Metric) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		ch <- prometheus.NewInvalidMetric(cpuSeconds, err)
		return
	}
	counter := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, label)
	}
	counter(cpuSeconds, time.Duration(u.Utime.Nano()).Seconds(), "user")
	counter(cpuSeconds, time.Duration(u.Stime.Nano()).Seconds(), "system")
	counter(switches, float64(u.Nvcsw), "voluntary")
	counter(switches, float64(u.Nivcsw), "involuntary")
}
