package stage

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStartAndStop(t *testing.T) {
	t.Setenv("GUARD", "from-the-shell")
	t.Setenv("DATABASE_URL", "from-the-shell")
	var log bytes.Buffer
	spec := fakeSpec()
	spec.DatabaseURL, spec.Log = "postgres://from-the-spec", &log
	process, err := Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if code := process.ExitCode(); code != -1 {
		t.Errorf("exit code %d while it runs, want -1", code)
	}
	if pids := process.Tree(); len(pids) != 1 || pids[0] != process.Pid() {
		t.Errorf("Tree() = %v, want just %d", pids, process.Pid())
	}
	if group, err := syscall.Getpgid(process.Pid()); err != nil || group != process.Pid() {
		t.Errorf("process group %d, %v, want its own", group, err)
	}
	if err := process.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if code := process.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := process.Stop(t.Context()); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	want := "fake stage, GUARD= DATABASE_URL=postgres://from-the-spec\n"
	if process.Log() != want || log.String() != want {
		t.Errorf("log %q and %q, want %q", process.Log(), log.String(), want)
	}
}

func TestStartSaysWhyItFailed(t *testing.T) {
	_, err := Start(t.Context(), fakeSpec("FAKE_EXIT=the database is on fire"))
	if err == nil || !strings.Contains(err.Error(), "exited with code 2") || !strings.Contains(err.Error(), "the database is on fire") {
		t.Errorf("error %v, want code and log", err)
	}
	spec := fakeSpec()
	spec.Binary = "/nowhere"
	if _, err := Start(t.Context(), spec); err == nil {
		t.Error("a missing binary started")
	}
}

func TestStartLeavesNothingBehind(t *testing.T) {
	spec := fakeSpec("FAKE_PID=1")
	spec.ReadyTimeout = 300 * time.Millisecond
	spec.Addr = freeAddr(t)
	if _, err := Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "process 1 answers") {
		t.Errorf("error %v, want that another process answers", err)
	}
	if connection, err := net.Dial("tcp", spec.Addr); err == nil {
		_ = connection.Close()
		t.Error("the process still listens")
	}
}

func TestStopReportsTheExitCode(t *testing.T) {
	process := startFake(t, "FAKE_CODE=7")
	if err := process.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "exit code 7") {
		t.Errorf("Stop: %v, want exit code 7", err)
	}
}

func TestStopKillsAtTheDeadline(t *testing.T) {
	process := startFake(t, "FAKE_DEAF=1", "FAKE_CHILD=1")
	pids := process.Tree()
	if len(pids) != 2 {
		t.Fatalf("Tree() = %v, want two processes", pids)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := process.Stop(ctx); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Stop: %v, want that it was killed", err)
	}
	if code := process.ExitCode(); code != 128+int(syscall.SIGKILL) {
		t.Errorf("exit code %d", code)
	}
	for _, pid := range pids {
		waitFor(t, "the tree to end", func() bool { return !Running(pid) })
	}
}

func TestStageDiesWithItsOwner(t *testing.T) {
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), "FAKE=owner")
	output, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(output).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(line)
	}
	if !Running(pid) {
		t.Fatal("the stage does not run")
	}
	_ = owner.Process.Kill()
	_ = owner.Wait()
	waitFor(t, "the stage to end with its owner", func() bool { return !Running(pid) })
}

func TestTailKeepsTheEnd(t *testing.T) {
	var log tail
	for range 100 {
		_, _ = log.Write(bytes.Repeat([]byte("x"), 4<<10))
	}
	_, _ = log.Write([]byte("one\ntwo\nthree\n"))
	if got := log.String(); len(got) != tailBytes || !strings.HasSuffix(got, "x"+"one\ntwo\nthree\n") {
		t.Errorf("kept %d bytes", len(got))
	}
	if got := lastLines(log.String(), 2); got != "two\nthree" {
		t.Errorf("last lines %q", got)
	}
	if got := lastLines("one", 2); got != "one" {
		t.Errorf("last lines %q", got)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func TestStartTriesAnotherPortOnce(t *testing.T) {
	for addr, want := range map[string]int{"": 2, freeAddr(t): 1} {
		var log bytes.Buffer
		spec := fakeSpec("FAKE_EXIT=cannot listen: address already in use")
		spec.Addr, spec.Log = addr, &log
		if _, err := Start(t.Context(), spec); err == nil {
			t.Error("started on a port that is taken")
		}
		if starts := strings.Count(log.String(), "fake stage"); starts != want {
			t.Errorf("with address %q it was started %d times, want %d", addr, starts, want)
		}
	}
}
