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

func TestTotalCountsDifferences(t *testing.T) {
	var old, young counters
	old.first.cpu, old.last.cpu = 10, 12
	old.first.voluntary, old.last.voluntary = 100, 130
	young.last.cpu, young.last.involuntary = 1, 5 // seen first after the start: counts from 0
	meter := Meter{
		processes: map[processKey]counters{{pid: 1}: old, {pid: 2}: young},
		threads:   map[threadKey]counters{{tid: 1}: old, {tid: 2}: young},
	}
	meter.total()
	if want := (Usage{CPUSeconds: 3, Voluntary: 30, Involuntary: 5}); meter.usage != want {
		t.Errorf("usage %+v, want %+v", meter.usage, want)
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
