package main

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/report"
)

// newResult returns a result without runs: when, where, by which command and with which seed.
func newResult(a *app, seed *uint64) *report.Result {
	r := &report.Result{
		Schema: report.Schema, StartedAt: time.Now().UTC().Truncate(time.Second), Command: commandText(a.args),
		Commit: report.Text(commit(a.ctx)), Machine: machine(), Notes: []string{}, Runs: []report.Run{},
	}
	if seed != nil {
		r.Seed = *seed
	} else {
		r.Seed = uint64(rand.Uint32()) // short enough to be typed, and exact in any JSON reader
	}
	return r
}

func commandText(args []string) string {
	hidden := make([]string, len(args))
	secret := false
	for i, arg := range args {
		hidden[i] = arg
		if secret {
			hidden[i] = "…"
		}
		secret = arg == "--database-url"
		if strings.HasPrefix(arg, "--database-url=") {
			hidden[i] = "--database-url=…" // it holds a password
		}
	}
	return strings.Join(append([]string{"loadtest"}, hidden...), " ")
}

// commit returns the project's commit, with "-dirty" where files differ from it, or "" where git cannot tell.
func commit(ctx context.Context) string {
	root, err := stage.Root()
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	git := func(args ...string) (string, error) {
		// Asking must not write: somebody may be working in the clone.
		out, err := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	hash, err := git("rev-parse", "--short", "HEAD")
	if err != nil {
		return ""
	}
	if status, err := git("status", "--porcelain"); err != nil || status != "" {
		hash += "-dirty"
	}
	return hash
}

// machine describes this machine. What it cannot find out stays unknown.
func machine() report.Machine {
	m := report.Machine{CPUs: runtime.NumCPU(), OS: runtime.GOOS, GoVersion: runtime.Version()}
	m.CPUModel = report.Text(lineOf("/proc/cpuinfo", "model name"))
	if fields := strings.Fields(lineOf("/proc/meminfo", "MemTotal")); len(fields) > 0 {
		if kib, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			m.MemoryBytes = new(kib << 10)
		}
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = report.Text(unix.ByteSliceToString(name.Release[:]))
	}
	return m
}

// lineOf returns what follows "key:" in a file of /proc.
func lineOf(path, key string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
