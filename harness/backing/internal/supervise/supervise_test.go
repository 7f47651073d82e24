package supervise

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script is a job whose server is a shell script.
func script(t *testing.T, server string) Job {
	t.Helper()
	return Job{
		Dir: filepath.Join(t.TempDir(), "job"), Run: []string{"/bin/sh", "-c", server}, Log: "log",
		Env:  []string{"PATH=/usr/bin:/bin", "GIVEN=yes"},
		Stop: syscall.SIGTERM, Orphan: syscall.SIGKILL, Grace: 20 * time.Second,
	}
}

func begin(t *testing.T, job Job) *Process {
	t.Helper()
	p, err := Start(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	return p
}

// file waits for a file in the job's folder, and returns its content.
func file(t *testing.T, job Job, name string) string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	for {
		content, err := os.ReadFile(filepath.Join(job.Dir, name))
		if err == nil && strings.HasSuffix(string(content), "\n") {
			return strings.TrimSpace(string(content))
		}
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatal("never: ", name)
		}
	}
}

func checkRemoved(t *testing.T, job Job) {
	t.Helper()
	if _, err := os.Stat(job.Dir); !os.IsNotExist(err) {
		t.Error("the folder is still there: ", err)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	job := script(t, `env > environment; cat given; pwd > where; exec tail -f /dev/null`)
	job.Files = map[string]string{"given": "hello\n"}
	job.Setup = []string{"/bin/sh", "-c", "cat given > made-by-setup"}
	p := begin(t, job)
	if got := file(t, job, "where"); filepath.Base(got) != "job" {
		t.Errorf("it runs in %s", got)
	}
	if got := file(t, job, "made-by-setup") + file(t, job, "log"); got != "hellohello" {
		t.Errorf("setup and server read %q", got)
	}
	if env := file(t, job, "environment"); !strings.Contains(env, "GIVEN=yes") || strings.Contains(env, variable) || strings.Contains(env, "HOME=") {
		t.Errorf("environment %q, want the job's alone", env)
	}
	if err := syscall.Kill(p.PID(), 0); err != nil {
		t.Error(err)
	}
	if err := p.Err(); err != nil {
		t.Error("a reason while it runs: ", err)
	}
	for range 2 {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	<-p.Exited()
	if err := syscall.Kill(p.PID(), 0); err != syscall.ESRCH {
		t.Error("it still runs: ", err)
	}
	checkRemoved(t, job)
}

func TestServerThatDoesNotStop(t *testing.T) {
	t.Parallel()
	job := script(t, `trap '' TERM; tail -f /dev/null & echo $! > child; wait; wait`)
	job.Grace = 50 * time.Millisecond
	p := begin(t, job)
	child := file(t, job, "child")
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(p.PID(), 0); err != syscall.ESRCH {
		t.Error("it still runs: ", err)
	}
	// The killed child is init's to wait for: it can be a zombie for a moment, but no longer a program.
	if line, err := os.ReadFile("/proc/" + child + "/cmdline"); err == nil && len(line) > 0 {
		t.Errorf("its child still runs: %q", line)
	}
	checkRemoved(t, job)
}

func TestServerThatEnds(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{
		"echo no luck today; exit 3": "sh ended by itself: exit status 3; its last words:\nno luck today",
		"exit 0":                     "sh ended by itself: exit status 0",
	} {
		job := script(t, server)
		p := begin(t, job)
		<-p.Exited()
		if err := p.Err(); err == nil || err.Error() != want {
			t.Errorf("reason %v, want %s", err, want)
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		checkRemoved(t, job)
	}
}

func TestSetupThatFails(t *testing.T) {
	t.Parallel()
	job := script(t, "echo > never")
	job.Setup = []string{"/bin/sh", "-c", "echo no room >&2; exit 4"}
	const want = "sh: exit status 4; its last words:\nno room"
	if _, err := Start(t.Context(), job); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	checkRemoved(t, job)
}

func TestProgramThatIsNotThere(t *testing.T) {
	t.Parallel()
	job := script(t, "")
	job.Run = []string{"/nowhere/postgres"}
	if _, err := Start(t.Context(), job); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v", err)
	}
	checkRemoved(t, job)
}

func TestFolderOfOthers(t *testing.T) {
	t.Parallel()
	job := script(t, "exit 0")
	if err := os.Mkdir(job.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), job); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(job.Dir); err != nil {
		t.Error("it removed a folder that it had not made: ", err)
	}
}

func TestCancelledSetup(t *testing.T) {
	t.Parallel()
	job := script(t, "exit 0")
	job.Setup = []string{"/bin/sh", "-c", "echo here > begun; tail -f /dev/null"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := Start(ctx, job)
		ended <- err
	}()
	file(t, job, "begun")
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("error %v", err)
	}
	checkRemoved(t, job)
}
