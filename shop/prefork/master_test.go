package prefork

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// still is a configuration for tests in which workers need not beat.
func still(workers int) Config { return Config{Workers: workers, HeartbeatTimeout: -1} }

func TestFirstWorkerGoesAlone(t *testing.T) {
	inWorld(t, still(3), func(w *world) {
		w.pass(time.Second)
		w.expect(1, "before the first is ready")
		if w.sockets != 3 {
			t.Errorf("%d sockets are open, want 3 from the start on", w.sockets)
		}
		w.only(0).ready()
		w.expect(3, "after the first is ready")
		w.only(1).ready()
		if w.roster.Started || w.roster.Ready() {
			t.Error("ready while one is still starting")
		}
		w.only(2).ready()
		if !w.roster.Started || !w.roster.Ready() {
			t.Error("not ready although all are")
		}
		w.only(1).exit(1)
		if !w.roster.Started || w.roster.Ready() {
			t.Errorf("after a crash: started %v, ready %v, want true, false", w.roster.Started, w.roster.Ready())
		}
	})
}

func TestReadyWorkerIsRestartedAtOnce(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		for range 20 { // more than the bound for deaths before ready
			before := len(w.procs)
			w.only(1).exit(BadConfigCode) // as after a panic
			w.expect(before+1, "after the death")
			w.only(1).ready()
		}
		if w.now() != 0 {
			t.Errorf("restarting took %v, want no wait", w.now())
		}
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestEarlyDeathsBackOff(t *testing.T) {
	cfg := still(1)
	cfg.MaxFailures, cfg.BackoffMin, cfg.BackoffMax = 6, 100*time.Millisecond, 500*time.Millisecond
	inWorld(t, cfg, func(w *world) {
		for range 6 {
			w.only(0).exit(9)
			w.pass(time.Second)
		}
		err := w.result()
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Code != 9 || exit.Failures != 6 || exit.Words != "last words" || exit.PID != w.procs[5].pid {
			t.Fatalf("err = %#v", err)
		}
		var waits []time.Duration
		for i, p := range w.procs {
			waits = append(waits, p.started-time.Duration(max(i-1, 0))*time.Second)
		}
		want := []time.Duration{0, 100e6, 200e6, 400e6, 500e6, 500e6}
		if !slices.Equal(waits, want) {
			t.Errorf("waits %v, want %v", waits, want)
		}
	})
}

func TestReadinessForgivesEarlierDeaths(t *testing.T) {
	cfg := still(1)
	cfg.MaxFailures = 2
	inWorld(t, cfg, func(w *world) {
		w.allReady(1)
		for range 3 {
			w.only(0).exit(1) // when ready
			w.only(0).exit(1) // before
			w.pass(w.backoffMax())
			w.only(0).ready()
		}
		w.only(0).exit(1)
		w.only(0).exit(1)
		w.pass(w.backoffMax())
		w.only(0).exit(1)
		if err := w.result(); err == nil || !strings.Contains(err.Error(), "2 times in a row: last words") {
			t.Errorf("err = %v", err)
		}
	})
}

// What is on disk has become bad, and a worker dies: those that serve are not to suffer for it.
func TestServingWorkersOutliveFailingOnes(t *testing.T) {
	for name, before := range map[string]func(*world){
		"as it is":               func(*world) {},
		"after a refused reload": func(w *world) { w.commandErr = errTest; w.send(syscall.SIGHUP) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, still(2), func(w *world) {
				w.allReady(2)
				before(w)
				w.only(1).exit(1)
				for range 10 {
					w.only(1).exit(BadConfigCode)
					w.pass(w.backoffMax())
				}
				w.only(0).expectSignals()
				if !strings.Contains(w.log.String(), "the others go on without it") {
					t.Error("the log does not say so")
				}
				w.only(1).ready()
				if !w.roster.Ready() {
					t.Errorf("roster %+v", w.roster)
				}
			})
		})
	}
	t.Run("until none is left", func(t *testing.T) {
		inWorld(t, still(2), func(w *world) {
			w.allReady(2)
			w.only(0).exit(1)
			w.only(1).exit(1)
			for range 5 {
				for slot := range 2 {
					for _, p := range w.running(slot) {
						p.exit(BadConfigCode)
					}
				}
				w.pass(w.backoffMax())
			}
			var exit *ExitError
			if err := w.result(); !errors.As(err, &exit) {
				t.Errorf("err = %v", err)
			}
		})
	})
}

func (w *world) backoffMax() time.Duration { return 5 * time.Second }

func TestBadConfigCode(t *testing.T) {
	t.Run("at first", func(t *testing.T) {
		inWorld(t, still(3), func(w *world) {
			w.only(0).exit(BadConfigCode)
			var exit *ExitError
			if err := w.result(); !errors.As(err, &exit) || exit.Code != BadConfigCode || exit.Failures != 1 {
				t.Errorf("err = %v", err)
			}
			w.expect(1, "at the end")
		})
	})
	t.Run("when the configuration has proved good", func(t *testing.T) {
		inWorld(t, still(2), func(w *world) {
			w.only(0).ready()
			w.only(1).exit(BadConfigCode)
			w.pass(w.backoffMax())
			w.expect(3, "after the back-off")
		})
	})
}

func TestForkFailureBacksOff(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.only(0).ready()
		w.spawnErr = errTest
		w.only(0).exit(1)
		w.pass(w.backoffMax() / 2)
		w.spawnErr = nil
		w.pass(w.backoffMax())
		w.only(0).ready()
		w.spawnErr = errTest
		w.only(0).exit(1)
		w.pass(time.Hour)
		var exit *ExitError
		if err := w.result(); !errors.As(err, &exit) || exit.Code != 1 || exit.Words != errTest.Error() {
			t.Errorf("err = %v", err)
		}
	})
}

func TestReadyTimeout(t *testing.T) {
	cfg := still(1)
	cfg.ReadyTimeout = 3 * time.Second
	inWorld(t, cfg, func(w *world) {
		p := w.only(0)
		w.pass(3*time.Second - 1)
		p.expectSignals()
		w.pass(1)
		p.expectSignals(syscall.SIGKILL)
		w.pass(w.backoffMax())
		w.only(0).ready()
		w.pass(time.Hour)
		w.only(0).expectSignals()
	})
}

func TestHeartbeat(t *testing.T) {
	cfg := Config{Workers: 1, HeartbeatTimeout: 10 * time.Second, AbortTimeout: 2 * time.Second}
	inWorld(t, cfg, func(w *world) {
		p := w.only(0)
		p.ready()
		for range 5 {
			w.pass(9 * time.Second)
			p.beat(0)
		}
		w.pass(10*time.Second + 1) // late: but the master may have been paused, and the beat may be waiting to be read
		p.beat(0)
		w.pass(9 * time.Second)
		p.beat(0)
		p.expectSignals()

		w.deaf = true
		w.pass(10*time.Second + time.Second - 1)
		p.expectSignals()
		w.pass(1)
		p.expectSignals(syscall.SIGABRT)
		if got := w.roster.Workers[0].State; got != Hung {
			t.Errorf("state %s, want hung", got)
		}
		w.pass(2*time.Second - 1)
		w.expect(1, "while it may still abort")
		w.pass(1)
		p.expectSignals(syscall.SIGABRT, syscall.SIGKILL)
		w.expect(2, "after the kill")
	})
}

// TestHungWorkerGetsNoNewConnections: they go to the others until it is replaced.
func TestHungWorkerGetsNoNewConnections(t *testing.T) {
	inWorld(t, Config{Workers: 2, HeartbeatTimeout: 10 * time.Second, AbortTimeout: 2 * time.Second}, func(w *world) {
		w.only(0).ready()
		w.only(1).ready()
		w.deaf = true
		for range 4 {
			w.pass(3 * time.Second)
			w.only(0).beat(0)
		}
		if want := []string{"steer 0"}; !slices.Equal(w.events, want) {
			t.Errorf("while it is hung: %v, want %v", w.events, want)
		}
		w.pass(2 * time.Second)
		if want := []string{"steer 0", "steer"}; !slices.Equal(w.events, want) {
			t.Errorf("once it is replaced: %v, want %v", w.events, want)
		}
		w.only(1).ready()
	})
}

func TestAbortedWorkerIsReplacedAtOnce(t *testing.T) {
	inWorld(t, Config{Workers: 1}, func(w *world) {
		p := w.only(0)
		p.ready()
		w.pass(11 * time.Second)
		p.expectSignals(syscall.SIGABRT)
		w.expect(2, "after the abort")
		w.only(0).ready()
	})
}

func TestStopDrainsThenTerminates(t *testing.T) {
	cfg := still(2)
	cfg.StopTimeout, cfg.DrainTimeout = 10*time.Second, time.Second
	inWorld(t, cfg, func(w *world) {
		w.allReady(2)
		w.queue[1] = 3
		w.deaf = true
		w.cancel()
		w.pass(900 * time.Millisecond)
		w.only(0).expectSignals()
		if want := []string{"refuse"}; !slices.Equal(w.events, want) {
			t.Errorf("while connections wait: %v, want %v", w.events, want)
		}
		w.queue[1] = 0
		w.pass(drainPoll)
		w.only(0).expectSignals(syscall.SIGTERM)
		w.only(1).expectSignals(syscall.SIGTERM)
		if want := []string{"refuse", "close"}; !slices.Equal(w.events, want) {
			t.Errorf("after the queue is empty: %v, want %v", w.events, want)
		}
		w.only(1).exit(0)
		w.pass(9 * time.Second)
		w.only(0).expectSignals(syscall.SIGTERM)
		if err := w.result(); err == nil || !strings.Contains(err.Error(), "worker 0") || strings.Contains(err.Error(), "worker 1") {
			t.Errorf("err = %v, want worker 0 alone", err)
		}
		w.procs[0].expectSignals(syscall.SIGTERM, syscall.SIGKILL)
		if w.now() != 10*time.Second {
			t.Errorf("stopping took %v, want %v", w.now(), cfg.StopTimeout)
		}
	})
}

func TestStopWaitsForAQueueNoLongerThanAllowed(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.queue[0] = 1
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		if w.now() != time.Second {
			t.Errorf("stopping took %v, want DrainTimeout", w.now())
		}
	})
}

func TestStopReportsExitCodes(t *testing.T) {
	inWorld(t, still(3), func(w *world) {
		w.only(0).ready()
		w.only(1).ready()
		w.deaf = true
		w.cancel()
		w.pass(stopSettle)
		w.only(0).exit(0)
		w.only(1).exit(3)
		w.only(2).exit(4) // was never ready: it cannot have lost anything
		err := w.result()
		if err == nil || !strings.Contains(err.Error(), "worker 1") || !strings.Contains(err.Error(), "exit code 3") || strings.Contains(err.Error(), "worker 2") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestStopBeforeAnybodyIsReady(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.only(0).exit(1)
		w.cancel() // in the back-off
		if err := w.result(); err != nil || w.now() != 0 {
			t.Errorf("err = %v after %v", err, w.now())
		}
	})
}

func TestQuit(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.deaf = true
		w.queue[0] = 5
		w.send(syscall.SIGQUIT)
		w.only(0).expectSignals(syscall.SIGTERM)
		w.only(1).expectSignals(syscall.SIGTERM)
		if err := w.result(); err != nil {
			t.Errorf("err = %v", err)
		}
		if w.now() != 500*time.Millisecond {
			t.Errorf("stopping took %v, want QuickTimeout", w.now())
		}
	})
}

func TestQuitHurriesAStop(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.deaf = true
		w.cancel()
		w.pass(3 * time.Second)
		w.send(syscall.SIGQUIT)
		if err := w.result(); err != nil || w.now() != 3500*time.Millisecond {
			t.Errorf("err = %v after %v", err, w.now())
		}
		w.procs[0].expectSignals(syscall.SIGTERM, syscall.SIGKILL)
	})
}

func TestUnkillableWorkerDoesNotHoldTheMaster(t *testing.T) {
	inWorld(t, still(1), func(w *world) {
		w.allReady(1)
		w.deaf, w.unkillable = true, true
		if err := w.stop(); err == nil || w.now() != 11*time.Second+killPatience {
			t.Errorf("err = %v after %v", err, w.now())
		}
		w.procs[0].gone = true // for the check at the end
	})
}

// Somebody sent SIGTERM to a worker: the slot gets another at once, while the old one finishes.
func TestWorkerThatLeavesUnasked(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.procs[0].leave()
		w.expect(3, "while it leaves")
		w.procs[2].ready()
		w.send(syscall.SIGHUP)
		w.expect(3, "a reload waits until it has left")
		w.procs[0].exit(0)
		w.expect(4, "then it begins")
		w.procs[0].expectSignals()
	})
}

func TestWorkerThatEndsUnasked(t *testing.T) {
	inWorld(t, still(2), func(w *world) {
		w.allReady(2)
		w.only(0).exit(0)
		w.expect(3, "after it left")
		w.only(0).ready()
		w.procs[2].leave()
		w.pass(11 * time.Second) // and does not end
		w.procs[2].expectSignals(syscall.SIGKILL)
	})
}

func TestRosterReachesTheWorkers(t *testing.T) {
	inWorld(t, Config{Workers: 2, HeartbeatTimeout: 5 * time.Second}, func(w *world) {
		w.allReady(2)
		a, b := w.only(0), w.only(1)
		last := func(p *fakeProc) Roster { return p.rosters[len(p.rosters)-1] }
		if !last(a).Ready() || !last(b).Ready() || last(a).Workers[1].PID != b.pid || last(b).Addr != "test:1" {
			t.Errorf("rosters: %+v, %+v", last(a), last(b))
		}
		sent := len(b.rosters)
		for n := range uint64(10) { // all within one beat
			a.beat(n + 1)
		}
		w.pass(time.Second)
		if got := len(b.rosters) - sent; got > 2 || last(b).Workers[0].Requests != 10 {
			t.Errorf("%d rosters for ten counts, want 2 at most; last: %+v", got, last(b))
		}
		sent = len(b.rosters)
		for range 20 {
			a.beat(10)
			b.beat(0)
			w.pass(time.Second)
		}
		if got := len(b.rosters) - sent; got != 0 {
			t.Errorf("%d rosters although nothing changed", got)
		}
	})
}
