package prefork

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestReloadGoesOneByOne(t *testing.T) {
	inWorld(t, still(3), func(w *world) {
		w.allReady(3)
		w.env = []string{"VERSION=2"}
		old := slices.Clone(w.procs)
		w.deaf = true
		w.send(syscall.SIGHUP)
		for slot := range 3 {
			w.expect(4+slot, "one replacement at a time")
			w.pass(time.Second)
			old[slot].expectSignals()
			w.running(slot)[1].ready()
			old[slot].expectSignals(syscall.SIGTERM)
			w.expect(4+slot, "while the old one leaves")
			old[slot].exit(0)
		}
		w.expect(6, "at the end")
		for _, p := range w.procs[3:] {
			p.expectSignals()
			if p.spec.passport.Generation != 1 || !slices.Equal(p.spec.command.Env, w.env) {
				t.Errorf("worker %d: %+v", p.pid, p.spec)
			}
		}
		if !strings.Contains(w.log.String(), "all workers are reloaded") {
			t.Error("the end of the reload is not logged")
		}
	})
}

func TestReloadTwice(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.send(syscall.SIGHUP)
		w.env = []string{"VERSION=3"}
		w.send(syscall.SIGHUP)
		for range 10 { // whoever starts gets ready
			for _, p := range w.procs {
				if !p.gone {
					p.ready()
				}
			}
		}
		for slot := range 2 {
			if p := w.only(slot); p.spec.passport.Generation != 2 || !slices.Equal(p.spec.command.Env, w.env) {
				t.Errorf("slot %d: %+v", slot, p.spec)
			}
		}
		w.expect(5, "two, one for the first reload, two for the second")
	})
}

func TestReloadAbandoned(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.env = []string{"VERSION=broken"}
		w.send(syscall.SIGHUP)
		w.running(0)[1].exit(BadConfigCode)
		w.pass(time.Hour)
		w.expect(3, "after the failure")
		w.procs[0].expectSignals()
		w.procs[1].expectSignals()
		w.procs[1].exit(1) // a crash later on must not meet the broken configuration
		if got := w.only(1).spec.command.Env; !slices.Equal(got, []string{"VERSION=1"}) {
			t.Errorf("after the crash: %v", got)
		}
		w.only(1).ready()
		w.env = []string{"VERSION=2"}
		w.send(syscall.SIGHUP)
		w.running(0)[1].ready()
		w.running(1)[1].ready()
		for slot := range 2 {
			if got := w.only(slot).spec.command.Env; !slices.Equal(got, w.env) {
				t.Errorf("the next reload: slot %d has %v", slot, got)
			}
		}
	})
}

func TestReloadAbandonedInTheMiddle(t *testing.T) {
	cfg := still(2)
	cfg.ReadyTimeout = time.Second
	inWorld(t, cfg, func(w *world) {
		w.allReady(2)
		w.send(syscall.SIGHUP)
		w.running(0)[1].ready()
		w.expect(4, "for slot 1")
		w.pass(time.Hour) // it never gets ready
		w.expect(4, "after it was killed")
		w.only(0).expectSignals()
		w.only(1).expectSignals()
	})
}

func TestReloadRefused(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.commandErr = errTest
		w.send(syscall.SIGHUP)
		w.pass(time.Hour)
		w.expect(1, "after a configuration that cannot be read")
		w.only(0).expectSignals()
	})
}

func TestCrashDuringReplacement(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.send(syscall.SIGHUP)
		w.expect(2, "the replacement")
		w.procs[0].exit(1)
		w.expect(2, "the replacement fills the gap")
		w.only(0).ready()
		w.pass(time.Hour)
		w.expect(2, "at the end")
		w.only(0).expectSignals()
	})
}

func TestCrashOfTheReplacementAfterTheWorker(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.send(syscall.SIGHUP)
		w.procs[0].exit(1)
		w.procs[1].exit(1)
		w.pass(w.backoffMax())
		w.only(0).ready()
		w.expect(3, "after the back-off")
	})
}

func TestStopDuringReplacement(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.send(syscall.SIGHUP)
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		for _, p := range w.procs {
			p.expectSignals(syscall.SIGTERM)
		}
	})
}

func TestRecycling(t *testing.T) {
	cfg := still(2)
	cfg.MaxRequests, cfg.MaxRequestsJitter = 100, 7
	inWorld(t, cfg, func(w *world) {
		if got := w.only(0).spec.passport.MaxRequests; got != 107 {
			t.Errorf("limit %d, want 107", got)
		}
		w.allReady(2)
		w.procs[0].askRecycle()
		w.procs[1].askRecycle()
		w.expect(3, "one at a time")
		w.procs[2].exit(1) // fails
		w.procs[0].expectSignals()
		w.expect(4, "slot 1 has its turn")
		w.procs[3].ready()
		w.procs[1].expectSignals(syscall.SIGTERM)
		w.pass(w.backoffMax() - 1)
		w.expect(4, "before slot 0 is tried again")
		w.pass(1)
		w.expect(5, "slot 0 is tried again")
		w.procs[4].ready()
		w.procs[0].expectSignals(syscall.SIGTERM)
		w.pass(time.Hour)
		w.expect(5, "at the end")
	})
}

func TestGrow(t *testing.T) {
	cfg := still(1)
	cfg.MaxWorkers = 2
	inWorld(t, cfg, func(w *world) {
		w.allReady(1)
		w.send(syscall.SIGTTIN)
		w.expect(2, "one more")
		if want := []string{"steer 0"}; !slices.Equal(w.events, want) {
			t.Errorf("before the new one is ready: %v, want %v", w.events, want)
		}
		w.only(1).ready()
		if want := []string{"steer 0", "steer"}; !slices.Equal(w.events, want) {
			t.Errorf("when the new one is ready: %v, want %v", w.events, want)
		}
		w.send(syscall.SIGTTIN)
		w.expect(2, "the most is reached")
		if w.roster.Wanted != 2 || w.sockets != 2 {
			t.Errorf("wanted %d, sockets %d", w.roster.Wanted, w.sockets)
		}
	})
}

func TestGrowFails(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.addErr = errTest
		w.send(syscall.SIGTTIN)
		w.expect(1, "no socket, no worker")
		w.addErr = nil
		w.send(syscall.SIGTTIN)
		w.expect(2, "the next time")
	})
}

func TestShrink(t *testing.T) {
	cfg := still(3)
	cfg.DrainTimeout = time.Second
	inWorld(t, cfg, func(w *world) {
		w.allReady(3)
		w.queue[2] = 1
		w.send(syscall.SIGTTOU)
		w.pass(900 * time.Millisecond)
		w.only(2).expectSignals()
		if want := []string{"steer 0 1"}; !slices.Equal(w.events, want) {
			t.Errorf("while a connection waits: %v, want %v", w.events, want)
		}
		w.queue[2] = 0
		w.pass(drainPoll)
		w.procs[2].expectSignals(syscall.SIGTERM)
		if want := []string{"steer 0 1", "remove", "steer"}; !slices.Equal(w.events, want) || w.sockets != 2 {
			t.Errorf("at the end: %v with %d sockets, want %v with 2", w.events, w.sockets, want)
		}
		w.pass(time.Hour)
		w.expect(3, "at the end")
		w.send(syscall.SIGTTOU)
		w.send(syscall.SIGTTOU)
		w.pass(time.Second)
		w.only(0).expectSignals() // one always stays
	})
}

func TestShrinkAndGrowAgain(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.send(syscall.SIGTTOU)
		w.send(syscall.SIGTTIN) // while it drains
		w.pass(time.Hour)
		w.expect(2, "nobody left")
		w.only(1).expectSignals()

		w.deaf = true
		w.send(syscall.SIGTTOU)
		w.pass(slotSettle)
		w.only(1).expectSignals(syscall.SIGTERM)
		w.send(syscall.SIGTTIN) // too late for this worker
		w.only(1).exit(0)
		w.expect(3, "a new one for the slot")
		if w.sockets != 2 || slices.Contains(w.events, "remove") {
			t.Errorf("the socket should have stayed: %v", w.events)
		}
	})
}

func TestShrinkDuringReplacement(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.procs[1].askRecycle()
		w.expect(3, "the replacement in slot 1")
		w.send(syscall.SIGTTOU)
		w.pass(time.Second)
		w.procs[1].expectSignals(syscall.SIGTERM)
		w.procs[2].expectSignals(syscall.SIGTERM)
		if w.sockets != 1 || len(w.roster.Workers) != 1 {
			t.Errorf("%d sockets, workers %+v", w.sockets, w.roster.Workers)
		}
	})
}

func TestConnectionsGoAroundASlotThatDoesNotComeUp(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.only(1).exit(1)
		if len(w.events) != 0 {
			t.Errorf("after a crash: %v, want no steering: the replacement is under way", w.events)
		}
		w.only(1).exit(1)
		if want := []string{"steer 0"}; !slices.Equal(w.events, want) {
			t.Errorf("after a death before ready: %v, want %v", w.events, want)
		}
		w.pass(w.backoffMax())
		w.only(1).ready()
		if want := []string{"steer 0", "steer"}; !slices.Equal(w.events, want) {
			t.Errorf("when it is up: %v, want %v", w.events, want)
		}
	})
}

// The worker that is being replaced dies, and the one that was to take over does not get ready.
func TestReloadFailsAfterTheOldWorkerDied(t *testing.T) {
	for _, workers := range []int{1, 2} {
		inWorld(t, still(workers), func(w *world) {
			w.allReady(workers)
			w.env = []string{"VERSION=2"}
			w.send(syscall.SIGHUP)
			all := w.running(0)
			all[0].exit(1)
			if strings.Contains(w.log.String(), "all workers are reloaded") {
				t.Error("it says that all are reloaded, and the new one does not serve yet")
			}
			all[1].exit(1)
			w.pass(w.backoffMax())
			if log := w.log.String(); !strings.Contains(log, "reload abandoned") || strings.Contains(log, "all workers are reloaded") {
				t.Error("the log does not say that the reload failed")
			}
			if again := w.only(0).spec.command.Env; !slices.Equal(again, []string{"VERSION=1"}) {
				t.Errorf("it is started again with %v, want the command of before", again)
			}
			w.expect(workers+2, "after the failure: nobody else is replaced")
			w.only(0).ready()
			if !settled(w.roster) {
				t.Errorf("roster %+v", w.roster)
			}
		})
	}
}

// The same while a new program is being proved: it is no program to become.
func TestUpgradeFailsAfterTheOldWorkerDied(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.send(syscall.SIGUSR2)
		w.judge(nil)
		all := w.running(0)
		all[0].exit(1)
		all[1].exit(1)
		if strings.Count(w.log.String(), "upgrade abandoned") != 1 {
			t.Error("the upgrade goes on")
		}
		w.pass(w.backoffMax())
		w.only(0).ready()
		if len(w.handOver) > 0 || !settled(w.roster) {
			t.Errorf("%d programs followed; roster %+v", len(w.handOver), w.roster)
		}
	})
}
