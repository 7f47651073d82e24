package stage

import (
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/procfs"
)

func TestMeasure(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	process := startFake(t, "FAKE_CHILD=1")
	meter := process.Measure(20 * time.Millisecond)
	pids := process.Tree()
	before := processCPU(pids[1])
	waitFor(t, "the child to burn CPU time", func() bool { return processCPU(pids[1]) > before+0.1 })
	process.Kill() // the last sample before this one counts
	usage := meter.Stop()
	if usage != meter.Stop() {
		t.Error("a second Stop gives another result")
	}
	if usage.ProcessesMax != 2 || usage.ThreadsMax < 4 || usage.GoroutinesMax < 2 {
		t.Errorf("%+v: want two processes with several threads", usage)
	}
	if usage.PSSBytesMax < 1<<20 || usage.PSSBytesMax > 1<<30 {
		t.Errorf("memory of %d bytes", usage.PSSBytesMax)
	}
	if usage.CPUSeconds < 0.05 || usage.CPUSeconds > 30 {
		t.Errorf("%v CPU seconds, want at least about 0.1", usage.CPUSeconds)
	}
	if usage.Voluntary+usage.Involuntary <= 0 {
		t.Errorf("%+v: no context switch", usage)
	}
}

func TestMeasureOfNothing(t *testing.T) {
	process := startFake(t)
	process.Kill()
	if usage := process.Measure(time.Second).Stop(); usage != (Usage{}) {
		t.Errorf("a dead process used %+v", usage)
	}
}

func TestLapsCountDifferences(t *testing.T) {
	var old, young counters
	old.first = count{cpu: 10, voluntary: 100}
	old.lap = count{cpu: 11, voluntary: 120}
	old.last = count{cpu: 12, voluntary: 130}
	young.last = count{cpu: 1, involuntary: 5} // seen first after the lap: counts from 0
	meter := Meter{
		lap:       Usage{ProcessesMax: 2, GoroutinesMax: 7},
		processes: map[processKey]counters{{pid: 1}: old, {pid: 2}: young},
		threads:   map[threadKey]counters{{tid: 1}: old, {tid: 2}: young},
	}
	var whole Usage
	whole.add(&meter, func(c counters) count { return c.first })
	if want := (Usage{CPUSeconds: 3, Voluntary: 30, Involuntary: 5}); whole != want {
		t.Errorf("usage %+v, want %+v", whole, want)
	}
	if lap, want := meter.endLap(), (Usage{ProcessesMax: 2, GoroutinesMax: 7, CPUSeconds: 2, Voluntary: 10, Involuntary: 5}); lap != want {
		t.Errorf("lap %+v, want %+v", lap, want)
	}
	if lap, want := meter.endLap(), (Usage{GoroutinesMax: 7}); lap != want {
		t.Errorf("lap in which nothing happened %+v, want %+v", lap, want)
	}
}

// What laps see adds up to what the meter sees.
func TestLap(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	process := startFake(t, "FAKE_CHILD=1")
	meter := process.Measure(time.Minute) // no sample but those of the laps
	pids := process.Tree()
	var sum float64
	for range 2 {
		before := processCPU(pids[1])
		waitFor(t, "the child to burn CPU time", func() bool { return processCPU(pids[1]) > before+0.1 })
		lap := meter.Lap()
		if lap.ProcessesMax != 2 || lap.PSSBytesMax < 1<<20 || lap.CPUSeconds < 0.05 || lap.Voluntary+lap.Involuntary <= 0 {
			t.Errorf("a lap %+v", lap)
		}
		sum += lap.CPUSeconds
	}
	sum += meter.Lap().CPUSeconds
	whole := meter.Stop().CPUSeconds
	if whole < sum-0.001 || whole > sum+0.5 {
		t.Errorf("the laps used %v CPU seconds, and all together %v", sum, whole)
	}
	if late := meter.Lap(); late != (Usage{}) {
		t.Errorf("a lap after the end used %+v", late)
	}
}

func processCPU(pid int) float64 {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	stat, err := process.Stat()
	if err != nil {
		return 0
	}
	return stat.CPUTime()
}
