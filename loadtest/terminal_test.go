package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

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

// shows says whether a text appeared. How it is drawn does not matter.
func (s *screen) shows(what string) bool { return strings.Contains(ansi.Strip(s.String()), what) }

// collect reads what a program writes to its terminal, until it has ended.
func (s *screen) collect(terminal *os.File) (done <-chan struct{}) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(s, terminal) // ends with an error
	}()
	return read
}

// build builds the program and returns its path.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "loadtest")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// mode is that of a terminal, seen from its other end.
func mode(t *testing.T, terminal *os.File) unix.Termios {
	t.Helper()
	termios, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *termios
}

// TestCtrlCInATerminal interrupts a comparison in its first run: everything that it started must be gone, and the terminal
// be as it was.
func TestCtrlCInATerminal(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a database and builds a stage")
	}
	root, err := stage.Root()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	command := exec.Command(build(t), "compare", "--stages", "4", "--stock", "1000000", "--duration", "60s", "--out", out)
	command.Dir = root
	command.Env = append(os.Environ(), "TERM=xterm-256color", "XDG_CACHE_HOME="+t.TempDir(), "GOCACHE="+goEnv(t, "GOCACHE")) // it must start services of its own
	terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: 30, Cols: 120})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	seen := &screen{}
	before := mode(t, terminal)
	before.Lflag |= unix.ECHO // the view may be there already
	read := seen.collect(terminal)
	if !eventually(func() bool { return seen.shows("1 of 3 · stage4-async · guard none (broken) · flash-sale") }, 3*time.Minute) {
		_ = command.Process.Kill()
		t.Errorf("no run began:\n%q", seen)
	}
	if drawing := mode(t, terminal); drawing.Lflag&unix.ECHO != 0 || drawing.Lflag&unix.ISIG == 0 {
		t.Errorf("while the view is drawn: %+v", drawing)
	}
	if running := sessionOf(t, command.Process.Pid); len(running) < 4 {
		t.Errorf("only %v run: this test would not see what is left behind", running)
	}
	if _, err := terminal.Write([]byte{3}); err != nil { // Ctrl-C
		t.Error(err)
	}
	err = command.Wait()
	after := mode(t, terminal)
	<-read
	if after != before {
		t.Errorf("the terminal's mode was %+v and is %+v", before, after)
	}
	text := seen.String()
	if shown, stopping := strings.LastIndex(text, "\x1b[?25h"), strings.Index(text, "loadtest: stopping"); shown < 0 || stopping < shown {
		t.Errorf("the view had not left when the program said that it stops:\n%q", text)
	}
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

// TestViewOfARun drives a service in terminals of several kinds. The report must come in each.
func TestViewOfARun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"order_id":1,"status":"created","total_cents":1}`)
	}))
	t.Cleanup(service.Close)
	binary := build(t)
	const drawn, line, colour = " accepted · 0 replayed", "[1/1] ", "\x1b[34m"
	for _, test := range []struct {
		name      string
		env       []string
		args      []string
		want, not []string
	}{
		{"view", []string{"TERM=xterm-256color"}, nil, []string{drawn, colour, "p99", "answers/s"}, []string{line}},
		{"no colour", []string{"TERM=xterm-256color", "NO_COLOR=1"}, nil, []string{drawn}, []string{line, colour}},
		{"plain", []string{"TERM=xterm-256color"}, []string{"--plain"}, []string{line, "\r\x1b[K"}, []string{drawn, "\x1b[?25l"}},
		{"dumb", []string{"TERM=dumb"}, nil, []string{line}, []string{drawn, "\x1b["}},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"run", "--target", service.URL, "--no-audit", "--product", "1", "--workload", "sustained", "--users", "2",
				"--duration", "900ms", "--warmup", "100ms", "--out", t.TempDir()}, test.args...)
			command := exec.Command(binary, args...)
			command.Env = append(os.Environ(), "NO_COLOR=")
			command.Env = append(command.Env, test.env...)
			terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: 30, Cols: 120})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = terminal.Close() }()
			before, seen := mode(t, terminal), &screen{}
			before.Lflag |= unix.ECHO // the view may be there already
			read := seen.collect(terminal)
			if err := command.Wait(); err != nil {
				t.Error(err)
			}
			after := mode(t, terminal)
			<-read
			if after != before {
				t.Errorf("the terminal's mode was %+v and is %+v", before, after)
			}
			for _, want := range append(test.want, "Written: ") {
				if !strings.Contains(seen.String(), want) && !seen.shows(want) {
					t.Errorf("%q is not in %q", want, seen)
				}
			}
			report, _, _ := strings.Cut(seen.String(), "Written: ")
			for _, not := range test.not {
				if view, _, _ := strings.Cut(report, "Sustained"); strings.Contains(view, not) {
					t.Errorf("%q is in %q", not, seen)
				}
			}
		})
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
