//go:build linux

package prefork

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// proveFirst lets a worker of the new program take the place of the one in slot 0.
func (w *world) proveFirst() {
	w.t.Helper()
	all := w.running(0)
	if len(all) != 2 {
		w.t.Fatalf("slot 0 has %d processes, want the worker and one of the new program", len(all))
	}
	all[1].ready()
}

func TestUpgradeRehearsesAndProvesBeforeItHandsOver(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.only(1).beat(42)
		w.env = []string{"VERSION=2"}
		w.refusal = errNotNow // the process cannot become another one in a test
		w.send(syscall.SIGUSR2)
		if len(w.rehearsed) != 1 || !slices.Equal(w.rehearsed[0].Env, w.env) {
			t.Fatalf("rehearsed %+v", w.rehearsed)
		}
		w.expect(2, "during the rehearsal")
		w.judge(nil)
		w.expect(3, "after the rehearsal")
		if len(w.handOver) > 0 {
			t.Fatal("it hands over before a worker of the new program serves")
		}
		w.proveFirst()
		if len(w.handOver) == 0 {
			t.Fatal("it does not hand over")
		}
		l := w.handOver[0]
		if len(l.Workers) != 2 || l.Workers[0].PID != w.only(0).pid || l.Workers[1].PID != w.only(1).pid || l.Workers[1].Requests != 42 ||
			l.Generation != 0 || l.Upgrades != 1 || l.Configured != 2 {
			t.Errorf("it leaves %+v", l)
		}
		w.pass(handOverPause)
		if len(w.handOver) != 2 {
			t.Errorf("it tried %d times, want 2", len(w.handOver))
		}
		w.only(1).expectSignals()
		w.expect(3, "at the end")
	})
}

// Whoever is in the way of handing over: the master waits until all is calm.
func TestUpgradeWaitsForCalm(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.refusal = errNotNow
		w.send(syscall.SIGHUP)
		w.send(syscall.SIGUSR2)
		if len(w.rehearsed) != 0 {
			t.Fatal("it does not wait for the end of the reload")
		}
		w.running(0)[1].ready()
		w.running(1)[1].ready()
		if len(w.rehearsed) != 1 {
			t.Fatal("the reload is over, and nothing is rehearsed")
		}
		w.only(0).askRecycle()
		w.expect(4, "while the new program may need the connections of one worker")
		w.judge(nil)
		w.only(1).exit(1)
		w.proveFirst()
		if len(w.handOver) != 0 {
			t.Fatal("it hands over while a worker is missing")
		}
		w.only(1).ready()
		if len(w.handOver) == 0 {
			t.Error("it does not hand over once all serve")
		}
	})
}

func TestUpgradeAbandoned(t *testing.T) {
	for name, tt := range map[string]struct {
		fail    func(w *world)
		started int
	}{
		"the rehearsal fails":          {func(w *world) { w.judge(errTest) }, 2},
		"the rehearsal takes for ever": {func(w *world) { w.pass(time.Minute) }, 2},
		"the new worker fails":         {func(w *world) { w.judge(nil); w.running(0)[1].exit(1) }, 3},
		"the new worker hangs":         {func(w *world) { w.judge(nil); w.pass(time.Minute) }, 3},
		"it cannot be executed": {func(w *world) {
			w.refusal = errTest
			w.judge(nil)
			w.proveFirst()
		}, 3},
		"there is never a good moment": {func(w *world) {
			w.refusal = errNotNow
			w.judge(nil)
			w.proveFirst()
			w.pass(2 * time.Minute)
		}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, still(2), func(w *world) {
				w.allReady(2)
				second := w.only(1)
				w.send(syscall.SIGUSR2)
				tt.fail(w)
				w.expect(tt.started, "after the failure")
				if !w.roster.Ready() || w.only(1) != second || strings.Count(w.log.String(), "upgrade abandoned") != 1 {
					t.Errorf("roster %+v", w.roster)
				}
				second.expectSignals()
				// A worker that dies now may not come up again. The other one is all there is.
				second.exit(1)
				for range 10 {
					w.pass(w.backoffMax())
					w.only(1).exit(1)
				}
				w.pass(w.backoffMax())
				w.only(0).expectSignals()
				w.only(1).ready()
				w.refusal = errNotNow
				w.send(syscall.SIGUSR2)
				w.judge(nil)
				w.proveFirst()
				if len(w.handOver) == 0 {
					t.Error("the next upgrade does not happen")
				}
			})
		})
	}
}

func TestUpgradeEndsWithTheMaster(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.send(syscall.SIGUSR2)
		w.send(syscall.SIGUSR2)
		if len(w.rehearsed) != 1 || !strings.Contains(w.log.String(), "under way already") {
			t.Errorf("%d rehearsals for two signals", len(w.rehearsed))
		}
		if err := w.stop(); err != nil { // waits for the rehearsal, which waits for the master
			t.Error(err)
		}
	})
}

// The caller's context does not end as soon as the signal is there.
func TestUpgradeSeesASignalToStopAtTheLastMoment(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.send(syscall.SIGUSR2)
		w.judge(nil)
		w.onItsWay = syscall.SIGTERM
		w.proveFirst()
		if err := w.result(); err != nil || len(w.handOver) != 0 {
			t.Errorf("err = %v, %d programs followed", err, len(w.handOver))
		}
	})
}

func TestUpgradeSeesASignalToStop(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.send(syscall.SIGUSR2)
		w.stops <- syscall.SIGTERM
		if err := w.result(); err != nil || strings.Count(w.log.String(), "stopping the workers") != 1 {
			t.Errorf("err = %v", err)
		}
	})
}

func TestUpgradeRefused(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.commandErr = errTest
		w.send(syscall.SIGUSR2)
		w.pass(time.Hour)
		if len(w.rehearsed) != 0 || !w.roster.Ready() {
			t.Errorf("%d rehearsals, roster %+v", len(w.rehearsed), w.roster)
		}
	})
}

// leftBy returns what a master with that many workers leaves.
func leftBy(workers int) *legacy {
	l := &legacy{Addr: "test:1", Configured: workers, Generation: 3, Upgrades: 1}
	for i := range workers {
		l.Sockets = append(l.Sockets, 10+i)
		l.Workers = append(l.Workers, heir{PID: 50 + i, Generation: 3, Requests: 7, Ready: time.Unix(1, 0)})
	}
	return l
}

func TestHeirReplacesAllWorkers(t *testing.T) {
	inWorldOf(t, still(2), leftBy(2), func(w *world) {
		if !w.roster.Started || !w.roster.Ready() || w.roster.Upgrades != 1 || w.roster.Workers[0].Requests != 7 {
			t.Errorf("roster %+v", w.roster)
		}
		w.expect(3, "at first: two adopted, one started")
		w.running(0)[1].ready()
		w.procs[0].expectSignals(syscall.SIGTERM)
		w.running(1)[1].ready()
		w.procs[1].expectSignals(syscall.SIGTERM)
		w.expect(4, "at the end")
		if g := w.roster.Workers[0].Generation; g != 4 {
			t.Errorf("generation %d, want 4", g)
		}
		w.only(0).exit(1)
		w.expect(5, "after a crash")
	})
}

// The adopted workers are watched and replaced as any others.
func TestHeirOfWorkersThatDie(t *testing.T) {
	cfg := Config{Workers: 2, HeartbeatTimeout: 10 * time.Second}
	inWorldOf(t, cfg, leftBy(2), func(w *world) {
		w.procs[1].exit(1)
		w.expect(4, "after the death of an adopted worker")
		w.only(1).ready()
		w.pass(12 * time.Second)
		w.procs[0].expectSignals(syscall.SIGABRT)
	})
}

func TestHeirWhoseWorkersFail(t *testing.T) {
	inWorldOf(t, still(2), leftBy(2), func(w *world) {
		w.running(0)[1].exit(1)
		w.pass(time.Hour)
		w.expect(3, "after the failure")
		w.procs[0].expectSignals()
		w.procs[1].expectSignals()
	})
}

func TestHeirChangesTheNumber(t *testing.T) {
	t.Run("more, when the workers of the master before are gone", func(t *testing.T) {
		inWorldOf(t, still(3), leftBy(2), func(w *world) {
			w.running(0)[1].ready()
			w.running(1)[1].ready()
			w.expect(5, "at the end")
			w.only(2).ready()
			if w.roster.Wanted != 3 {
				t.Errorf("roster %+v", w.roster)
			}
		})
	})
	t.Run("fewer, before one worker more is started", func(t *testing.T) {
		inWorldOf(t, still(1), leftBy(3), func(w *world) {
			w.expect(3, "until the slots are given up")
			w.pass(time.Second)
			w.expect(4, "afterwards")
			w.running(0)[1].ready()
			if !settled(w.roster) || w.roster.Wanted != 1 {
				t.Errorf("roster %+v", w.roster)
			}
		})
	})
	t.Run("not what TTIN made of it", func(t *testing.T) {
		l := leftBy(3)
		l.Configured = 2
		inWorldOf(t, still(2), l, func(w *world) {
			if w.roster.Wanted != 3 {
				t.Errorf("roster %+v", w.roster)
			}
		})
	})
}

func TestHeirOfNothing(t *testing.T) {
	inWorldOf(t, still(2), &legacy{Addr: "test:1"}, func(w *world) {
		if err := w.result(); err == nil {
			t.Error("it is master of no workers")
		}
	})
}

func TestCallingIsChecked(t *testing.T) {
	cfg := Config{Addr: "test:1", Mode: ReusePort}
	for want, c := range map[string]calling{
		"":                  {Format: legacyFormat, Addr: "test:1", Mode: ReusePort},
		"in format 0":       {Addr: "test:1", Mode: ReusePort},
		"listens on test:2": {Format: legacyFormat, Addr: "test:2", Mode: ReusePort},
		"test:1 (shared)":   {Format: legacyFormat, Addr: "test:1", Mode: Shared},
	} {
		err := c.check(cfg)
		if (want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
}
