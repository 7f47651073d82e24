package service

import (
	"context"
	"strconv"
	"time"

	"example.com/flashsale/shop/metrics"
	"example.com/flashsale/shop/prefork"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// figures is what /metrics shows: of this process, or of all workers.
type figures struct {
	prometheus.Gatherer
	group *metrics.Group // nil: this process is alone
	stop  func() bool    // ends the watch over the master
}

// figures registers the figures of this process. The caller closes them.
func (t Topology) figures(b *Backend) figures {
	if t.Roster == nil {
		metrics.Register(b.Metrics)
		return figures{Gatherer: b.Metrics}
	}
	metrics.Register(prometheus.WrapRegistererWith(prometheus.Labels{metrics.WorkerLabel: strconv.Itoa(t.Slot)}, b.Metrics))
	group, err := metrics.Join(t.folder, b.Metrics, t.peers, func(err error) {
		b.Log.Warn("the figures of this worker cannot be saved: sums in /metrics may fall when it ends", "error", err)
	})
	if err != nil {
		b.Log.Warn("/metrics of the other workers will lack this one", "error", err)
	}
	f := figures{Gatherer: group, group: group, stop: func() bool { return true }}
	if t.MasterLife != nil { // who else should remove it?
		f.stop = context.AfterFunc(t.MasterLife, t.folder.Remove)
	}
	return f
}

// peers returns all workers, for the figures of all of them.
func (t Topology) peers() []metrics.Peer {
	var peers []metrics.Peer
	for _, m := range t.Roster().Workers {
		peers = append(peers, metrics.Peer{
			PID: m.PID, State: string(m.State), Leaving: m.State == prefork.Leaving,
			Answers: m.State == prefork.Serving || m.State == prefork.Leaving || m.State == prefork.Hung,
		})
	}
	return peers
}

func (f figures) close() {
	if f.group != nil {
		f.group.Close()
		f.stop()
	}
}

// busyShare returns a function that says how busy this process was since its
// last call, 0 to 1: the orders in flight, those that wait included, by those
// that it can work on at once; or its share of a core, if that is more. One
// goroutine may call it.
func busyShare(inFlight func() time.Duration, workers int) func() float64 {
	lastAt, lastFlight, lastCPU := time.Now(), inFlight(), cpuTime()
	return func() float64 {
		at, flight, cpu := time.Now(), inFlight(), cpuTime()
		elapsed := max(at.Sub(lastAt).Seconds(), 1e-9)
		share := max((flight-lastFlight).Seconds()/float64(workers), (cpu-lastCPU).Seconds()) / elapsed
		lastAt, lastFlight, lastCPU = at, flight, cpu
		return min(share, 1)
	}
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
