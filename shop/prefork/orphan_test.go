package prefork

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
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
	pid    int
	exited chan error
	log    *buffer
}

// execMaster starts it and returns when all its workers serve.
func execMaster(t *testing.T, behaviour string) (*masterProcess, Roster) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &masterProcess{exited: make(chan error, 1), log: &buffer{}}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(workerEnvironment(behaviour), masterEnv+"=1")
	cmd.Stdout, cmd.Stderr = write, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	_ = write.Close()
	go func() { p.exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = read.Close()
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	_ = read.SetReadDeadline(time.Now().Add(patience))
	for lines := bufio.NewScanner(read); lines.Scan(); {
		var roster Roster
		if err := json.Unmarshal(lines.Bytes(), &roster); err != nil {
			t.Fatal(err)
		}
		if settled(roster) {
			go drain(lines)
			return p, roster
		}
	}
	t.Fatalf("the master does not get ready:\n%s", p.log)
	return nil, Roster{}
}

// drain reads on so that the master does not block; it ends with the master's standard output.
func drain(lines *bufio.Scanner) {
	for lines.Scan() {
		_ = lines.Text() // the content does not matter
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

// What a terminal does at Ctrl-C: SIGINT to the whole group of the process in the foreground.
func TestInterruptReachesTheMasterAlone(t *testing.T) {
	t.Parallel()
	master, roster := execMaster(t, behaveWell)
	h := hold(t, roster.Addr)
	if err := syscall.Kill(-master.pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	h.finish(t)
	select {
	case err := <-master.exited:
		if err != nil {
			t.Errorf("the master ended with %v, want exit code 0", err)
		}
	case <-time.After(patience):
		t.Fatal("the master does not end")
	}
	for _, pid := range pids(roster) {
		if isAlive(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
}
