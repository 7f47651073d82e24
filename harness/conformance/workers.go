package conformance

import (
	"slices"
	"syscall"
	"testing"
)

// testKilledWorker kills the workers of a master, one after the other, while clients order and ask again under the same
// key until they know. Each worker is replaced; no order is lost or doubled.
func testKilledWorker(t *testing.T, s *suite) {
	if s.opt.Processes == 0 {
		t.Skipf("%s has one process", s.name)
	}
	f := s.start(t)
	product := f.product(plenty)
	load := f.load(product, racers, true)
	load.waitAccepted(50)
	old := f.workers()
	for _, pid := range old {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		f.wantGone([]int{pid})
		load.waitAccepted(50)
		replaced := slices.Clone(old[:slices.Index(old, pid)+1])
		eventually(t, "a new worker serves in place of the killed one", func() bool {
			now := f.workers()
			return len(now) == len(old) && !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(replaced, pid) })
		})
	}
	load.waitAccepted(50)
	attempts := load.stop()
	for _, a := range attempts {
		if !a.placed() {
			t.Errorf("order %s has no answer in the end but %d", a.Key, a.status)
		}
	}
	if err := f.process.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	f.audit(product, plenty, attempts)
}

// workers asks for health until all workers have answered, and returns their process ids.
func (f *fixture) workers() []int {
	f.Helper()
	var pids []int
	eventually(f.T, "each worker answers", func() bool {
		health, err := f.process.Health(f.Context())
		if err != nil {
			return false // it hit a worker that is just dying
		}
		if !slices.Contains(pids, health.Pid) {
			pids = append(pids, health.Pid)
		}
		return len(pids) == f.opt.Processes
	})
	slices.Sort(pids)
	return pids
}

// testKilledMaster kills the master while clients order. The workers leave, and the port is free.
func testKilledMaster(t *testing.T, s *suite) {
	if s.opt.Processes == 0 {
		t.Skipf("%s has no master", s.name)
	}
	f := s.start(t)
	product := f.product(plenty)
	load := f.load(product, racers, false)
	load.waitAccepted(50)
	pids := f.process.Tree()
	f.signal(syscall.SIGKILL)
	f.wantGone(pids)
	f.waitExit(atOnce)
	eventuallyWithin(t, atOnce, "the port is free", func() bool { return portFree(f.process.Addr) })
	f.audit(product, plenty, load.wait())
}
