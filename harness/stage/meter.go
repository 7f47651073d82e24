package stage

import (
	"context"
	"time"

	"github.com/prometheus/procfs"
)

// Usage is what a process tree used between Measure and Stop. Counters are differences; sizes are the largest that a
// sample saw.
type Usage struct {
	ProcessesMax  int
	ThreadsMax    int     // of the operating system, all processes together
	GoroutinesMax int     // of the process that has most; 0: not asked for, see Process.Measure
	PSSBytesMax   int64   // shared pages are divided among those who share them; the resident size where the kernel cannot tell
	CPUSeconds    float64 // user and system, in steps of 10 ms
	Voluntary     int64   // context switches because a thread had to wait
	Involuntary   int64   // context switches because the kernel gave the core to another
}

// Meter samples a process tree until Stop.
type Meter struct {
	laps chan chan Usage
	stop chan struct{}
	done chan struct{}
	// Only the sampling goroutine touches these until done is closed.
	pid        int
	goroutines func(context.Context) int
	usage, lap Usage                   // since the start, and since the last lap
	processes  map[processKey]counters // CPU seconds
	threads    map[threadKey]counters  // context switches
}

// A number is used again after a process ended; with the start time the key is unique.
type processKey struct {
	pid     int
	started uint64
}

type threadKey struct {
	process processKey
	tid     int
}

// counters holds the values at the first sample, at the last lap, and at the last sample. What was there at the first
// sample counts from that value, what came later from 0; what has ended keeps its last values.
type counters struct{ first, lap, last count }

type count struct {
	cpu                    float64
	voluntary, involuntary uint64
}

// Measure starts to sample the process pid and its descendants from /proc and returns when the first sample is taken.
// A sample takes some milliseconds of one core; a lap is one, and then the next comes after every. The caller has to call
// Stop. A switch of context or a moment of CPU time that falls between the last sample and the end of a thread is not
// counted. Systems without /proc give a zero Usage.
func Measure(pid int, every time.Duration) *Meter { return measure(pid, every, nil) }

// Measure is like the function Measure for this stage, and asks GET /health with each sample for the number of
// goroutines, which /proc does not know.
func (p *Process) Measure(every time.Duration) *Meter {
	return measure(p.Pid(), every, func(ctx context.Context) int {
		health, err := p.Health(ctx)
		if err != nil {
			return 0 // a busy or dying stage leaves out a figure
		}
		return health.Goroutines
	})
}

func measure(pid int, every time.Duration, goroutines func(context.Context) int) *Meter {
	meter := &Meter{
		laps: make(chan chan Usage), stop: make(chan struct{}), done: make(chan struct{}), pid: pid, goroutines: goroutines,
		processes: map[processKey]counters{}, threads: map[threadKey]counters{},
	}
	meter.sample(true)
	go meter.run(every)
	return meter
}

// Lap takes a sample and returns what was used since the last lap, or since the start. It blocks until that sample is
// there, and may be called concurrently. After Stop it returns zero.
func (m *Meter) Lap() Usage {
	answer := make(chan Usage, 1)
	select {
	case m.laps <- answer:
		return <-answer
	case <-m.done:
		return Usage{}
	}
}

// Stop takes a last sample and returns what was used. It blocks until that sample is there; a second call returns the
// same. It must not be called concurrently.
func (m *Meter) Stop() Usage {
	select {
	case <-m.done:
	default:
		close(m.stop)
		<-m.done
	}
	return m.usage
}

func (m *Meter) run(every time.Duration) {
	defer close(m.done)
	asked, stopAsking := m.askGoroutines(every)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.sample(false)
		case n := <-asked:
			m.usage.GoroutinesMax, m.lap.GoroutinesMax = max(m.usage.GoroutinesMax, n), max(m.lap.GoroutinesMax, n)
		case answer := <-m.laps:
			m.sample(false)
			answer <- m.endLap()
			tick.Reset(every) // this was a sample like any other
		case <-m.stop:
			stopAsking()
			m.sample(false)
			m.usage.add(m, func(c counters) count { return c.first })
			return
		}
	}
}

// endLap returns what was used since the last lap, and begins another.
func (m *Meter) endLap() Usage {
	used := m.lap
	used.add(m, func(c counters) count { return c.lap })
	m.lap = Usage{GoroutinesMax: used.GoroutinesMax} // it holds until the next answer
	for key, entry := range m.processes {
		entry.lap = entry.last
		m.processes[key] = entry
	}
	for key, entry := range m.threads {
		entry.lap = entry.last
		m.threads[key] = entry
	}
	return used
}

// askGoroutines asks beside the samples, because a stage that is slow to answer must not delay them. The caller has to
// call stop, which waits for what is under way.
func (m *Meter) askGoroutines(every time.Duration) (answers <-chan int, stop func()) {
	if m.goroutines == nil {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	asked, ended := make(chan int), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case asked <- m.goroutines(ctx):
			case <-ctx.Done():
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return asked, func() {
		cancel()
		<-ended
	}
}

// sample reads the whole tree once. Processes may end while it reads: what cannot be read is left out.
func (m *Meter) sample(first bool) {
	var threads int
	var memory int64
	pids := tree(m.pid)
	for _, pid := range pids {
		process, err := procfs.NewProc(pid)
		if err != nil {
			continue
		}
		stat, err := process.Stat()
		if err != nil {
			continue
		}
		key := processKey{pid: pid, started: stat.Starttime}
		entry, known := m.processes[key]
		entry.last.cpu = stat.CPUTime()
		if first && !known {
			entry.first, entry.lap = entry.last, entry.last
		}
		m.processes[key] = entry
		threads += stat.NumThreads
		memory += proportionalSize(process, stat)
		m.sampleThreads(key, first)
	}
	for _, u := range []*Usage{&m.usage, &m.lap} {
		u.ProcessesMax = max(u.ProcessesMax, len(pids))
		u.ThreadsMax = max(u.ThreadsMax, threads)
		u.PSSBytesMax = max(u.PSSBytesMax, memory)
	}
}

// sampleThreads reads the context switches, which /proc has for each thread alone.
func (m *Meter) sampleThreads(process processKey, first bool) {
	threads, err := procfs.AllThreads(process.pid)
	if err != nil {
		return
	}
	for _, thread := range threads {
		status, err := thread.NewStatus()
		if err != nil {
			continue
		}
		key := threadKey{process: process, tid: thread.PID}
		entry := m.threads[key]
		entry.last.voluntary, entry.last.involuntary = status.VoluntaryCtxtSwitches, status.NonVoluntaryCtxtSwitches
		if first {
			entry.first, entry.lap = entry.last, entry.last
		}
		m.threads[key] = entry
	}
}

// add adds the differences between what from returns and the last values.
func (u *Usage) add(m *Meter, from func(counters) count) {
	for _, entry := range m.processes {
		u.CPUSeconds += entry.last.cpu - from(entry).cpu
	}
	for _, entry := range m.threads {
		u.Voluntary += int64(entry.last.voluntary - from(entry).voluntary)
		u.Involuntary += int64(entry.last.involuntary - from(entry).involuntary)
	}
}

func proportionalSize(process procfs.Proc, stat procfs.ProcStat) int64 {
	rollup, err := process.ProcSMapsRollup()
	if err != nil || rollup.Pss == 0 {
		return int64(stat.ResidentMemory())
	}
	return int64(rollup.Pss)
}
