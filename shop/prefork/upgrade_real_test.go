//go:build linux

package prefork

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// install puts a program at the path, as a deployment does: written beside it, then renamed.
func install(t *testing.T, path string, write func(*os.File) error) {
	t.Helper()
	syscall.ForkLock.RLock() // a process that is forked now would have the file open, and so it could not be executed
	defer syscall.ForkLock.RUnlock()
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(file); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// build writes another build of this program: what follows the end of the program changes nothing.
func build(version string) func(*os.File) error {
	return func(file *os.File) error {
		self, err := os.Open(os.Args[0])
		if err != nil {
			return err
		}
		defer func() { _ = self.Close() }()
		if _, err := io.Copy(file, self); err != nil {
			return err
		}
		_, err = io.WriteString(file, version)
		return err
	}
}

func text(content string) func(*os.File) error {
	return func(file *os.File) error {
		_, err := io.WriteString(file, content)
		return err
	}
}

// runs says whether the process executes the file that is at the path now.
func runs(pid int, path string) bool {
	program, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	file, err := os.Stat(path)
	return err == nil && os.SameFile(program, file)
}

// upgraded waits until the master and all workers are what is on disk.
func (p *masterProcess) upgraded(path string, upgrades int, before Roster) Roster {
	p.t.Helper()
	return p.await(fmt.Sprintf("upgrade %d", upgrades), func(r Roster) bool {
		for _, pid := range pids(r) {
			if !runs(pid, path) {
				return false
			}
		}
		return settled(r) && r.Upgrades == upgrades && runs(p.pid, path) && disjoint(pids(before), pids(r))
	})
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	install(t, path, build("1"))
	master := execMasterAt(t, path, behaveWell)
	before := master.await("the master is ready", settled)
	stop := load(before.Addr)
	h := hold(t, before.Addr)
	for h.slot != "1" { // the worker of slot 0 is replaced before the master
		h.finish(t)
		h = hold(t, before.Addr)
	}
	for n := 1; n <= 3; n++ {
		install(t, path, build(fmt.Sprint(n+1)))
		master.signal(syscall.SIGUSR2)
		if n == 1 {
			master.await("the request's worker is told to leave", func(r Roster) bool {
				return r.Upgrades == 1 && slices.ContainsFunc(r.Workers, func(w Member) bool { return w.State == Leaving && w.PID == before.Workers[1].PID })
			})
			h.finish(t)
		}
		after := master.upgraded(path, n, before)
		if after.MasterPID != master.pid || after.Addr != before.Addr || !after.Started {
			t.Errorf("roster = %+v, was %+v", after, before)
		}
		before = after
	}
	answers, failures := stop()
	if len(failures) > 0 || len(answers) == 0 {
		t.Errorf("%d processes answered; %d requests failed, the first with %v", len(answers), len(failures), failures)
	}
	// It still is a master: it replaces who dies, reloads, and stops in order.
	_ = syscall.Kill(before.Workers[0].PID, syscall.SIGKILL)
	before = master.await("the dead worker is replaced", func(r Roster) bool {
		return settled(r) && r.Workers[0].PID != before.Workers[0].PID
	})
	master.signal(syscall.SIGHUP)
	master.await("the reload is over", func(r Roster) bool { return settled(r) && disjoint(pids(before), pids(r)) })
	master.signal(syscall.SIGTERM)
	if err := master.end(); err != nil {
		t.Errorf("it ended with %v, want exit code 0", err)
	}
	if !isFree(before.Addr) {
		t.Error("the port is not free")
	}
	if open := strings.Count(master.log.String(), "upgraded: this program is the master now"); open != 3 {
		t.Errorf("%d upgrades in the log, want 3", open)
	}
}

// A container may have nothing that can be written to.
func TestUpgradeWithoutATemporaryFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	install(t, path, build("1"))
	master := execMasterAt(t, path, behaveWell, "TMPDIR="+filepath.Join(t.TempDir(), "nowhere"))
	before := master.await("the master is ready", settled)
	install(t, path, build("2"))
	master.signal(syscall.SIGUSR2)
	master.upgraded(path, 1, before)
}

// What cannot follow the master is found out before it does.
func TestUpgradeToABrokenProgram(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		program func(*os.File) error
		want    string
	}{
		"no program":     {text("<html>404 not found</html>\n"), "exec format error"},
		"another one":    {text("#!/bin/sh\nexit 0\n"), "it ended without an answer"},
		"it fails":       {text("#!/bin/sh\necho there is no libsomething >&2\nexit 127\n"), "there is no libsomething"},
		"it is not here": {nil, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "program")
			install(t, path, build("1"))
			master := execMasterAt(t, path, behaveWell)
			before := master.await("the master is ready", settled)
			if tt.program == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				install(t, path, tt.program)
			}
			master.signal(syscall.SIGUSR2)
			eventually(t, "the upgrade is abandoned", func() bool { return strings.Contains(master.log.String(), "upgrade abandoned") })
			if !strings.Contains(master.log.String(), tt.want) {
				t.Errorf("the log does not say %q", tt.want)
			}
			if now := rosterOf(t, before.Addr); !settled(now) || fmt.Sprint(pids(now)) != fmt.Sprint(pids(before)) || now.Upgrades != 0 {
				t.Errorf("workers %+v, were %+v", now, before)
			}
			install(t, path, build("2"))
			master.signal(syscall.SIGUSR2)
			master.upgraded(path, 1, before)
		})
	}
}

// The new program is a good master, and its workers do not get ready.
func TestUpgradeToBrokenWorkers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	install(t, path, build("1"))
	master := execMasterAt(t, path, failAfterReload)
	before := master.await("the master is ready", settled)
	install(t, path, build("2"))
	master.signal(syscall.SIGUSR2)
	eventually(t, "the upgrade is abandoned", func() bool { return strings.Contains(master.log.String(), "upgrade abandoned") })
	master.await("the workers are those of before", func(r Roster) bool { return settled(r) && slices.Equal(pids(r), pids(before)) })
	if runs(master.pid, path) {
		t.Error("the master is the new program")
	}
	master.signal(syscall.SIGTERM)
	if err := master.end(); err != nil {
		t.Errorf("it ended with %v, want exit code 0", err)
	}
}

// Signals that come while one program becomes the next do not end it, although it does not heed them yet, and more
// upgrades than one are none at a time.
func TestUpgradeUnderSignals(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	install(t, path, build("1"))
	master := execMasterAt(t, path, behaveWell)
	before := master.await("the master is ready", settled)
	install(t, path, build("2"))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = syscall.Kill(master.pid, syscall.SIGWINCH) // nobody heeds it
				_ = syscall.Kill(master.pid, syscall.SIGUSR2)  // says that an upgrade is under way, or begins one
			case <-stop:
				return
			}
		}
	}()
	after := master.await("several upgrades", func(r Roster) bool { return r.Upgrades >= 3 && disjoint(pids(r), pids(before)) })
	close(stop)
	<-stopped
	master.await("all is calm", func(r Roster) bool { return settled(r) && r.Upgrades >= after.Upgrades })
}

// A signal to stop is not lost, almost whenever it comes: the program that is heeds it, or the one that follows, or it ends
// the one that follows while that starts and does not heed signals yet. In the moment in which one program becomes the other
// it can be lost (docs/prefork.md, limits); a second one then stops the master.
func TestUpgradeStopsWhenTold(t *testing.T) {
	t.Parallel()
	const moments, mayBeLost = 12, 2
	var longest time.Duration
	lost := 0
	for i := range moments {
		path := filepath.Join(t.TempDir(), "program")
		install(t, path, build("1"))
		master := execMasterAt(t, path, behaveWell)
		before := master.await("the master is ready", settled)
		install(t, path, build("2"))
		asked := time.Now()
		master.signal(syscall.SIGUSR2)
		switch {
		case i == 0: // how long it takes
			master.upgraded(path, 1, before)
			longest = time.Since(asked)
		case i%2 == 0: // anywhere
			<-time.After(longest * time.Duration(i) / moments)
		default: // about when one program becomes the other
			master.await("the proof", func(r Roster) bool { return r.Workers[0].PID != before.Workers[0].PID })
			<-time.After(time.Duration(i) * time.Millisecond / 2)
		}
		master.signal(syscall.SIGTERM)
		err, ended := master.endsWithin(5 * time.Second)
		if !ended {
			lost++
			t.Logf("moment %d: the signal was lost, sending another", i)
			master.signal(syscall.SIGTERM)
			err = master.end()
		}
		if err != nil && err.Error() != "signal: terminated" {
			t.Errorf("moment %d: it ended with %v, want exit code 0 or the signal", i, err)
		}
		eventually(t, "the port is free", func() bool { return isFree(before.Addr) })
	}
	if lost > mayBeLost {
		t.Errorf("%d of %d signals were lost", lost, moments)
	}
}

// What the process has taken from the kernel is on its way through other goroutines. None of it is missed.
func TestDeliverSignals(t *testing.T) { //nolint:paralleltest // other tests count this process's signals
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGWINCH)
	defer signal.Stop(got)
	for i := range 1000 {
		if err := unix.Tgkill(os.Getpid(), unix.Gettid(), syscall.SIGWINCH); err != nil { // taken before this returns
			t.Fatal(err)
		}
		deliverSignals()
		select {
		case <-got:
		default:
			t.Fatalf("signal %d is not there", i)
		}
	}
}

// A worker starts with no signal blocked, although the master that follows another has some.
func TestUpgradeLeavesNoSignalBlocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	install(t, path, build("1"))
	master := execMasterAt(t, path, behaveWell)
	before := master.await("the master is ready", settled)
	install(t, path, build("2"))
	master.signal(syscall.SIGUSR2)
	for _, pid := range pids(master.upgraded(path, 1, before)) {
		if !slices.ContainsFunc(masks(t, pid), func(mask string) bool { return mask == "0000000000000000" }) {
			t.Errorf("worker %d: all threads block signals: %v", pid, masks(t, pid))
		}
	}
	// What is to happen when the master's parent dies is not forgotten. The first program says so, and the second.
	if n := strings.Count(master.log.String(), fmt.Sprintf("parent_death=%d\n", syscall.SIGCONT)); n != 2 {
		t.Errorf("%d programs know the signal for the death of the parent, want 2", n)
	}
}

// masks returns the signals that the threads of a process block. One of Go's threads always blocks almost all.
func masks(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		status, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		_, rest, _ := strings.Cut(string(status), "SigBlk:\t")
		mask, _, _ := strings.Cut(rest, "\n")
		all = append(all, mask)
	}
	return all
}

// Workers die at any time, also in the moment of handing over.
func TestUpgradeWhileWorkersDie(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	install(t, path, build("1"))
	master := execMasterAt(t, path, behaveWell)
	before := master.await("the master is ready", settled)
	for n := 1; n <= 3; n++ {
		install(t, path, build(fmt.Sprint(n+1)))
		master.signal(syscall.SIGUSR2)
		for i := range 3 {
			now := master.await("a worker serves", func(r Roster) bool { return r.Workers[i%len(r.Workers)].State == Serving })
			victim := now.Workers[i%len(now.Workers)]
			_ = syscall.Kill(victim.PID, syscall.SIGKILL)
			master.await("the dead worker is replaced", func(r Roster) bool {
				return r.Ready() && !slices.Contains(pids(r), victim.PID)
			})
		}
		before = master.upgraded(path, n, before)
	}
}
