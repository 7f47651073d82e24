package prefork

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

func rosterOf(t *testing.T, addr string) Roster {
	t.Helper()
	res, err := client.Get("http://" + addr + "/roster")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var roster Roster
	if err := json.NewDecoder(res.Body).Decode(&roster); err != nil {
		t.Fatal(err)
	}
	return roster
}

// masterProcess is a master in a process of its own, the leader of a process group as under a shell.
type masterProcess struct {
	t      *testing.T
	pid    int
	exited chan error
	log    *buffer

	mu     sync.Mutex
	latest Roster
}

// execMaster starts it and returns when all its workers serve.
func execMaster(t *testing.T, behaviour string) (*masterProcess, Roster) {
	t.Helper()
	p := execMasterAt(t, os.Args[0], behaviour)
	return p, p.await("the master is ready", settled)
}

// execMasterAt starts the test binary at that path. It does not wait.
func execMasterAt(t *testing.T, path, behaviour string, env ...string) *masterProcess {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &masterProcess{t: t, exited: make(chan error, 1), log: &buffer{}}
	cmd := exec.Command(path)
	cmd.Env = append(append(workerEnvironment(behaviour), masterEnv+"=1"), env...)
	cmd.Stdout, cmd.Stderr = write, p.log
	cmd.SysProcAttr = processAttributes()
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	_ = write.Close()
	var reading sync.WaitGroup
	reading.Go(func() { p.follow(read) })
	go func() { p.exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = read.SetReadDeadline(time.Now())
		reading.Wait()
		_ = read.Close()
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	return p
}

// follow reads rosters until the master has ended.
func (p *masterProcess) follow(stdout io.Reader) {
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var roster Roster
		if err := json.Unmarshal(lines.Bytes(), &roster); err != nil {
			p.t.Errorf("the master says %q", lines.Text())
			return
		}
		p.mu.Lock()
		p.latest = roster
		p.mu.Unlock()
	}
}

func (p *masterProcess) roster() Roster {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest
}

func (p *masterProcess) await(what string, check func(Roster) bool) Roster {
	p.t.Helper()
	eventually(p.t, what, func() bool { return check(p.roster()) })
	return p.roster()
}

func (p *masterProcess) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.pid, sig); err != nil {
		p.t.Fatal(err)
	}
}

// end waits for the master's end and returns what its wait says.
func (p *masterProcess) end() error {
	p.t.Helper()
	select {
	case err := <-p.exited:
		return err
	case <-time.After(patience):
		p.t.Fatal("the master does not end")
		return nil
	}
}

// endsWithin reports whether the master ends in that time, and what its wait says then.
func (p *masterProcess) endsWithin(limit time.Duration) (err error, ended bool) {
	select {
	case err := <-p.exited:
		return err, true
	case <-time.After(limit):
		return nil, false
	}
}

// The workers of a killed master finish what they can and are gone in time, those too that would not stop by themselves
// and those that are paused.
func TestWorkersDoNotOutliveTheirMaster(t *testing.T) {
	t.Parallel()
	for _, behaviour := range []string{behaveWell, stubborn} {
		t.Run(behaviour, func(t *testing.T) {
			t.Parallel()
			master, roster := execMaster(t, behaviour)
			if behaviour == stubborn {
				pause(t, roster.Workers[0].PID)
			}
			if err := syscall.Kill(master.pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			killed := time.Now()
			eventually(t, "the workers are gone and the port is free", func() bool {
				return !slices.ContainsFunc(pids(roster), isAlive) && isFree(roster.Addr)
			})
			if took := time.Since(killed); took > time.Second {
				t.Errorf("the workers were gone after %v, want a second at most", took)
			}
		})
	}
}

func TestOrphansFinishWhatIsInFlight(t *testing.T) {
	t.Parallel()
	master, roster := execMaster(t, behaveWell)
	h := hold(t, roster.Addr)
	if _, err := ask(roster.Addr); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := syscall.Kill(master.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the port is closed", func() bool {
		conn, err := net.Dial("tcp", roster.Addr)
		if err == nil {
			_ = conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if took := time.Since(killed); took > OrphanGrace/2 {
		t.Skipf("this machine is too busy: after %v the grace may be over", took)
	}
	h.finish(t)
}

// A worker that has been told to stop finishes its requests only while its master lives: nobody could hurry it any more,
// and a master that ends at its second signal wants no delay.
func TestLeavingWorkersFollowTheirMaster(t *testing.T) {
	t.Parallel()
	master, roster := execMaster(t, behaveWell)
	hold(t, roster.Addr) // the end of the test ends it
	master.signal(syscall.SIGTERM)
	master.await("a worker finishes its request", func(r Roster) bool { return r.Count(Leaving) == 1 && len(r.Workers) == 1 })
	master.signal(syscall.SIGKILL)
	killed := time.Now()
	eventually(t, "the workers are gone", func() bool { return !slices.ContainsFunc(pids(roster), isAlive) })
	if took := time.Since(killed); took > time.Second {
		t.Errorf("the workers were gone after %v, want a second at most", took)
	}
}

// What a terminal does at Ctrl-C: SIGINT to the whole group of the process in the foreground.
func TestInterruptReachesTheMasterAlone(t *testing.T) {
	t.Parallel()
	master, roster := execMaster(t, behaveWell)
	h := hold(t, roster.Addr)
	if err := syscall.Kill(-master.pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	h.finish(t)
	if err := master.end(); err != nil {
		t.Errorf("the master ended with %v, want exit code 0", err)
	}
	for _, pid := range pids(roster) {
		if isAlive(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
}
