package prefork

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A rolling reload, under load: every process is another one afterwards, no request failed, never fewer workers serve than
// wanted, and never is there more than one too many.
func TestReloadLosesNoRequest(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{ReusePort, Shared} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := launch(t, behaveWell, Config{Workers: 3, Mode: mode})
			before := r.awaitSettled()
			start := len(r.rosters())
			stopLoad := load(before.Addr)
			r.signals <- syscall.SIGHUP
			after := r.await("all are replaced", func(now Roster) bool { return settled(now) && disjoint(pids(before), pids(now)) })
			answers, failures := stopLoad()
			if len(failures) > 0 {
				t.Errorf("%d requests failed, first: %v", len(failures), failures[0])
			}
			assertShare(t, "old", answers, pids(before))
			for _, roster := range r.rosters()[start:] {
				if n := roster.Count(Serving); n < 3 || len(roster.Workers) > 4 {
					t.Errorf("%d serve, %d run, want at least 3 and at most 4: %+v", n, len(roster.Workers), roster)
				}
			}
			for _, m := range after.Workers {
				if m.Generation != 1 {
					t.Errorf("worker %+v is not of generation 1", m)
				}
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// assertShare fails unless these processes gave answers: else the load has proved nothing.
func assertShare(t *testing.T, which string, answers map[int]int, pids []int) {
	t.Helper()
	n := 0
	for _, pid := range pids {
		n += answers[pid]
	}
	if n == 0 {
		t.Errorf("the %s workers answered nothing: %v", which, answers)
	}
}

func TestReloadLetsTheOldWorkerFinish(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 1})
	before := r.awaitSettled()
	h := hold(t, before.Addr)
	r.signals <- syscall.SIGHUP
	r.await("the old worker leaves while the new one serves", func(now Roster) bool {
		return now.Count(Leaving) == 1 && now.Count(Serving) == 1
	})
	eventually(t, "the old worker has closed its listener, the new one answers", func() bool {
		a, err := ask(before.Addr)
		return err == nil && a.PID != before.Workers[0].PID
	})
	if a := h.finish(t); a.PID != before.Workers[0].PID {
		t.Errorf("the request in flight was answered by %+v", a)
	}
	r.awaitSettled()
}

func TestReloadIsAbandonedWhenTheNewWorkerFails(t *testing.T) {
	t.Parallel()
	r := launch(t, failAfterReload, Config{Workers: 2})
	before := r.awaitSettled()
	r.signals <- syscall.SIGHUP
	eventually(t, "the reload is abandoned", func() bool { return strings.Contains(r.log.String(), "reload abandoned") })
	after := r.awaitSettled()
	if !slices.Equal(pids(before), pids(after)) {
		t.Errorf("workers changed: %v, then %v", before, after)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestResizeUnderLoad(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{ReusePort, Shared} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := launch(t, behaveWell, Config{Workers: 1, MaxWorkers: 3, Mode: mode})
			addr := r.awaitSettled().Addr
			stopLoad := load(addr)
			r.signals <- syscall.SIGTTIN
			r.signals <- syscall.SIGTTIN
			more := r.await("three serve", func(now Roster) bool { return settled(now) && now.Wanted == 3 })
			awaitWorkers(t, addr, 3)
			if mode == ReusePort { // in the shared mode one worker may take all
				awaitAnswers(t, addr, pids(more))
			}
			r.signals <- syscall.SIGTTOU
			r.signals <- syscall.SIGTTOU
			less := r.await("one serves", func(now Roster) bool { return settled(now) && now.Wanted == 1 })
			awaitWorkers(t, addr, 1)
			if _, failures := stopLoad(); len(failures) > 0 {
				t.Errorf("%d requests failed, first: %v", len(failures), failures[0])
			}
			if !slices.Equal(pids(less), pids(more)[:1]) {
				t.Errorf("the highest slots should go: %+v, then %+v", more, less)
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// awaitWorkers waits until the workers know how many they are.
func awaitWorkers(t *testing.T, addr string, n int) {
	t.Helper()
	eventually(t, "the workers know their number", func() bool {
		a, err := ask(addr)
		return err == nil && a.Workers == n
	})
}

// awaitAnswers waits until each process has answered.
func awaitAnswers(t *testing.T, addr string, pids []int) {
	t.Helper()
	seen := map[int]bool{}
	eventually(t, "each worker answers", func() bool {
		if a, err := ask(addr); err == nil {
			seen[a.PID] = true
		}
		return !slices.ContainsFunc(pids, func(pid int) bool { return !seen[pid] })
	})
}

// While the worker of the slot to be given up does not accept, connections wait in its queue. They are not reset.
func TestShrinkDrainsTheAcceptQueue(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 2, DrainTimeout: patience, HeartbeatTimeout: -1})
	before := r.awaitSettled()
	victim := before.Workers[1].PID
	pause(t, victim)
	answers := make(chan error, 24) // the chance that none of them falls to the victim is 2^-24
	for range cap(answers) {
		conn := send(t, before.Addr)
		go func() { answers <- receive(conn) }()
	}
	r.signals <- syscall.SIGTTOU
	r.await("the number is one", func(now Roster) bool { return now.Wanted == 1 })
	for range 24 { // all go to the worker that stays, or they would wait for the paused one
		if a, err := ask(before.Addr); err != nil || a.PID == victim {
			t.Fatalf("answer %+v, %v", a, err)
		}
	}
	if now := r.roster(); now.Count(Serving) != 2 {
		t.Errorf("the worker was dismissed before its queue was empty: %+v", now)
	}
	if err := syscall.Kill(victim, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Errorf("a waiting request was lost: %v", err)
		}
	}
	r.awaitSettled()
}

// The number of workers follows what they say of themselves, up and down, and no request is lost.
func TestScalingUnderLoad(t *testing.T) {
	t.Parallel()
	busy := filepath.Join(t.TempDir(), "busy")
	r := launchWith(t, append(workerEnvironment(behaveWell), busyEnv+"="+busy), Config{
		Workers: 1, MaxWorkers: 3, HeartbeatTimeout: 2 * time.Second,
		Scaling: Scaling{Min: 1, UpAfter: 500 * time.Millisecond, DownAfter: 500 * time.Millisecond},
	})
	addr := r.awaitSettled().Addr
	stopLoad := load(addr)
	for round := range 2 {
		if err := os.WriteFile(busy, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		all := r.await("three workers", func(now Roster) bool { return settled(now) && now.Wanted == 3 })
		awaitAnswers(t, addr, pids(all))
		if err := os.Remove(busy); err != nil {
			t.Fatal(err)
		}
		r.await("one worker", func(now Roster) bool { return settled(now) && now.Wanted == 1 })
		if n := strings.Count(r.log.String(), "scaling reason="); n != 4*(round+1) {
			t.Errorf("%d decisions after round %d, want two up and two down in each", n, round+1)
		}
	}
	if answers, failures := stopLoad(); len(failures) > 0 || len(answers) < 3 {
		t.Errorf("%d processes answered; %d requests failed, first: %v", len(answers), len(failures), failures)
	}
}

func TestRecyclingLosesNoRequest(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 2, MaxRequests: 20, MaxRequestsJitter: 10})
	before := r.awaitSettled()
	stopLoad := load(before.Addr)
	r.await("both are replaced", func(now Roster) bool { return now.Ready() && disjoint(pids(before), pids(now)) })
	answers, failures := stopLoad()
	if len(failures) > 0 {
		t.Errorf("%d requests failed, first: %v", len(failures), failures[0])
	}
	for _, pid := range pids(before) {
		if answers[pid] < 20 {
			t.Errorf("worker %d was replaced after %d requests, want at least 20", pid, answers[pid])
		}
	}
}

// Workers are killed one after the other while clients ask, and ask again when they get no answer.
func TestKillsUnderLoad(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 2})
	now := r.awaitSettled()
	stopLoad := load(now.Addr)
	for i := range 10 {
		victim := now.Workers[i%2].PID
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		now = r.await("the killed one is replaced", func(now Roster) bool { return settled(now) && !slices.Contains(pids(now), victim) })
		awaitAnswers(t, now.Addr, pids(now))
	}
	answers, failures := stopLoad()
	if len(answers) == 0 {
		t.Error("the load got no answer")
	}
	if len(failures) > 10*4 { // four requests are under way at a time
		t.Errorf("%d requests failed, first: %v", len(failures), failures[0])
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestHungWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 1, HeartbeatTimeout: 500 * time.Millisecond, AbortTimeout: patience})
	first := r.awaitSettled()
	res, err := client.Get("http://" + first.Addr + "/mute")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	r.await("another serves", func(now Roster) bool { return settled(now) && disjoint(pids(first), pids(now)) })
	if log := r.log.String(); !strings.Contains(log, "SIGABRT") || !strings.Contains(log, "prefork.workerMain") {
		t.Error("the log should have the goroutines of the hung worker")
	}
}

// A worker that is stopped cannot even abort.
func TestStoppedWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 1, HeartbeatTimeout: 500 * time.Millisecond, AbortTimeout: 100 * time.Millisecond})
	first := r.awaitSettled()
	pause(t, first.Workers[0].PID)
	r.await("another serves", func(now Roster) bool { return settled(now) && disjoint(pids(first), pids(now)) })
}

func TestWorkersKnowTheRoster(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 2, HeartbeatTimeout: 2 * time.Second})
	master := r.awaitSettled()
	eventually(t, "a worker knows that both served requests", func() bool {
		roster := rosterOf(t, master.Addr)
		if _, err := ask(master.Addr); err != nil {
			t.Fatal(err)
		}
		return settled(roster) && slices.Equal(pids(roster), pids(master)) && roster.Addr == master.Addr && roster.Started &&
			roster.Workers[0].Requests > 0 && roster.Workers[1].Requests > 0
	})
}
