package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/prometheus/procfs"

	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/report"
)

// screen collects what a program writes to its terminal.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) shows(what string) bool { return strings.Contains(s.String(), what) }

// TestCtrlCInATerminal interrupts a comparison in its first run: everything that it started must be gone.
func TestCtrlCInATerminal(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a database and builds a stage")
	}
	root, err := stage.Root()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "loadtest")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out := filepath.Join(t.TempDir(), "out")
	command := exec.Command(binary, "compare", "--stages", "4", "--stock", "1000000", "--duration", "60s", "--out", out)
	command.Dir = root
	command.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir(), "GOCACHE="+goEnv(t, "GOCACHE")) // it must start services of its own
	terminal, err := pty.Start(command)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	seen := &screen{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buffer := make([]byte, 4096)
		for {
			n, err := terminal.Read(buffer)
			_, _ = seen.Write(buffer[:n])
			if err != nil {
				return // the program has ended
			}
		}
	}()
	if !eventually(func() bool { return seen.shows("[1/3] stage4-async, guard none, flash-sale: ") }, 3*time.Minute) {
		_ = command.Process.Kill()
		t.Errorf("no run began:\n%q", seen)
	}
	if running := sessionOf(t, command.Process.Pid); len(running) < 4 {
		t.Errorf("only %v run: this test would not see what is left behind", running)
	}
	if _, err := terminal.Write([]byte{3}); err != nil { // Ctrl-C
		t.Error(err)
	}
	err = command.Wait()
	<-read
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != report.ExitFailed || !seen.shows("loadtest: interrupted") {
		t.Errorf("%v\n%q", err, seen)
	}
	if rest := sessionOf(t, command.Process.Pid); len(rest) > 0 {
		t.Errorf("left behind: %v", rest)
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of a report without runs is still there: %v", err)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// sessionOf lists the processes of a session, which all children of a program in a terminal belong to.
func sessionOf(t *testing.T, id int) []string {
	t.Helper()
	processes, err := procfs.AllProcs()
	if err != nil {
		t.Skip(err)
	}
	var members []string
	for _, process := range processes {
		if stat, err := process.Stat(); err == nil && stat.Session == id {
			members = append(members, stat.Comm)
		}
	}
	return members
}
