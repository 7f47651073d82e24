package service

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sys/unix"
)

// newRegistry returns a registry with the figures of this process: what
// client_golang knows of Go and of /proc, and what getrusage knows besides.
func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), rusage{})
	return reg
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
