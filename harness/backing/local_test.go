package backing

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"example.com/flashsale/harness/backing/internal/supervise"
)

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLocalBinaries(t *testing.T) {
	t.Parallel()
	needsLocal(t)
	var out bytes.Buffer
	s, err := start(t.Context(), Options{Redis: true, Out: &out}, bareMachine(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	pg, rd := postgresTraces(t, s.Postgres.URL), redisTraces(t, s.Redis.URL)

	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_connections": "200",
		"shared_buffers": "128MB", "wal_sync_method": "fdatasync",
		"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "password_encryption": "scram-sha-256",
	} {
		if setting == "wal_sync_method" && runtime.GOOS != "linux" {
			continue
		}
		if got := query(t, s.Postgres.URL, "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	for _, service := range []Service{s.Postgres, s.Redis} {
		if service.Source != LocalBinaries || service.Version == "" {
			t.Errorf("source %q, version %q", service.Source, service.Version)
		}
		if host, _, err := net.SplitHostPort(hostOf(t, service.URL)); err != nil || host != "127.0.0.1" {
			t.Errorf("host %q, %v; only loopback is private", host, err)
		}
	}
	for _, want := range []string{
		fmt.Sprintf("postgres: local binaries %s on %s (throw-away)\n", s.Postgres.Version, hostOf(t, s.Postgres.URL)),
		fmt.Sprintf("redis: local binaries %s on %s (throw-away)\n", s.Redis.Version, hostOf(t, s.Redis.URL)),
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no line %q in %q", want, out.String())
		}
	}
	checkPassword(t, s)
	checkAlone(t, pg.pid)
	checkAlone(t, rd.pid)
	if memory, err := inMemory(pg.dir); err != nil || memory {
		t.Errorf("the data is in memory: %v, %v", memory, err)
	}
	if !pg.present() || !rd.present() {
		t.Error("folder or process cannot be seen: the checks below would prove nothing")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !pg.gone() || !rd.gone() {
		t.Error("Close left a folder or a process")
	}
	if err := s.Close(); err != nil {
		t.Error("second Close: ", err)
	}
}

// checkAlone checks that no signal for our process group reaches pid, and that it does not run as root.
func checkAlone(t *testing.T, pid int) {
	t.Helper()
	group, err := syscall.Getpgid(pid)
	if err != nil {
		t.Fatal(err)
	}
	if group == syscall.Getpgrp() {
		t.Errorf("process %d is in the process group of its owner: a Ctrl-C would reach it", pid)
	}
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		return
	}
	info, err := os.Stat("/proc/" + strconv.Itoa(pid))
	if err != nil {
		t.Fatal(err)
	}
	if info.Sys().(*syscall.Stat_t).Uid == 0 {
		t.Errorf("process %d runs as root", pid)
	}
}

// checkPassword checks that nobody gets in with another password.
func checkPassword(t *testing.T, s *Services) {
	t.Helper()
	for service, check := range map[string]check{s.Postgres.URL: checkPostgres, s.Redis.URL: checkRedis} {
		u, err := url.Parse(service)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(u.User.Username(), "wrong")
		if _, err := check(t.Context(), u.String()); err == nil {
			t.Errorf("%s let in a wrong password", u.Scheme)
		}
	}
}

// Two that cannot share, although they want to, and that start at once.
func TestTwoStartsAtOnce(t *testing.T) {
	t.Parallel()
	needsLocal(t)
	m := bareMachine("/dev/null/flashsale")
	var both [2]*Services
	var outs [2]bytes.Buffer
	var errs [2]error
	var group sync.WaitGroup
	for i := range both {
		group.Go(func() { both[i], errs[i] = start(t.Context(), Options{Redis: true, Share: true, Out: &outs[i]}, m) })
	}
	group.Wait()
	for i, s := range both {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		if !strings.Contains(outs[i].String(), "postgres: other processes will not find it: ") {
			t.Errorf("output %q, want that it is not shared", outs[i].String())
		}
	}
	if both[0].Postgres.URL == both[1].Postgres.URL || both[0].Redis.URL == both[1].Redis.URL {
		t.Error("two owners got one instance, which ends with the first of them")
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	needsLocal(t)
	m := bareMachine("")
	dir, name, _ := m.redisProgram()
	user, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	calls := 0
	server, err := runLocal(t.Context(), checkRedis, func(port int) (supervise.Job, string, error) {
		if calls++; calls == 1 {
			port = l.Addr().(*net.TCPAddr).Port // as if somebody took it after we had found it free
		}
		data, err := dataFolder("redis", m.temp, user)
		job := m.redisJob(filepath.Join(dir, name), data, "secret", port, user)
		return job, redisURL("127.0.0.1:"+strconv.Itoa(port), "secret"), err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.stop(); err != nil {
		t.Error(err)
	}
	if calls != 2 {
		t.Errorf("%d attempts, want 2", calls)
	}
}

func TestServerThatDiesIsReported(t *testing.T) {
	t.Parallel()
	needsLocal(t)
	s, err := start(t.Context(), Options{}, bareMachine(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	tr := postgresTraces(t, s.Postgres.URL)
	if err := syscall.Kill(tr.pid, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "postgres gone and its folder removed", tr.gone)
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "postgres ended by itself") {
		t.Errorf("Close says %v, want that the server had ended", err)
	}
}

// fakeBinaries makes a folder with programs that are shell scripts.
func fakeBinaries(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := filepath.Join(diskFolder(t), "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBrokenBinaries(t *testing.T) {
	t.Parallel()
	dir := fakeBinaries(t, map[string]string{
		"initdb": "exit 0", "postgres": "echo 'FATAL: no luck today' >&2; exit 3",
		"redis-server": "echo 'bad config' >&2; exit 1",
	})
	temp := diskFolder(t)
	m := bareMachine(t.TempDir())
	m.binaries, m.temp = []string{dir}, []string{temp}
	m.getenv = func(string) string { return "" }
	var out bytes.Buffer
	s, err := start(t.Context(), Options{Redis: true, Out: &out}, m)
	if err == nil {
		t.Fatal("started: ", s)
	}
	for _, want := range []string{"FATAL: no luck today", "exit status 3", "bad config", "apt install postgresql", "REDIS_URL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in the error: %v", want, err)
		}
	}
	for _, want := range []string{"postgres: local binaries did not work: ", "redis: local binaries did not work: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the output: %s", want, out.String())
		}
	}
	checkEmpty(t, temp)
}

func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	// A server that runs but never answers.
	dir := fakeBinaries(t, map[string]string{"initdb": "exit 0", "postgres": "echo $$ > ready; exec tail -f /dev/null"})
	temp := diskFolder(t)
	m := bareMachine(t.TempDir())
	m.binaries, m.temp = []string{dir}, []string{temp}
	m.getenv = func(string) string { return "/usr/bin:/bin" }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := start(ctx, Options{}, withoutVariables(m))
		ended <- err
	}()
	var pid []byte
	eventually(t, "the server runs", func() bool {
		ready, _ := filepath.Glob(filepath.Join(temp, "*", "ready"))
		if len(ready) == 1 {
			pid, _ = os.ReadFile(ready[0])
		}
		return len(pid) > 0
	})
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "start postgres (local binaries)") {
		t.Errorf("error %v, want one that says what was going on", err)
	}
	if err := syscall.Kill(atoi(t, string(pid)), 0); err != syscall.ESRCH {
		t.Errorf("the server is still there: %v", err)
	}
	checkEmpty(t, temp)
}

// withoutVariables keeps PATH alone.
func withoutVariables(m machine) machine {
	path := m.getenv("PATH")
	m.getenv = func(name string) string {
		if name == "PATH" {
			return path
		}
		return ""
	}
	return m
}

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, version := range []string{"9.6", "15", "17"} {
		if err := os.MkdirAll(filepath.Join(root, version, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m := machine{getenv: func(string) string { return "/first" }, binaries: []string{filepath.Join(root, "*", "bin")}}
	want := []string{"/first", filepath.Join(root, "17/bin"), filepath.Join(root, "15/bin"), filepath.Join(root, "9.6/bin")}
	if got := m.folders(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("folders %v, want %v", got, want)
	}
}

func TestDataFolder(t *testing.T) {
	t.Parallel()
	disk := diskFolder(t)
	private := filepath.Join(disk, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	stranger := &supervise.User{UID: 54321, GID: 54321}
	if got, err := dataFolder("x", []string{private, disk}, stranger); err != nil || filepath.Dir(got) != disk {
		t.Errorf("%s, %v: want it in %s, which the user can reach", got, err, disk)
	}
	if got, err := dataFolder("x", []string{private, disk}, nil); err != nil || filepath.Dir(got) != private {
		t.Errorf("%s, %v: want it in %s, the first", got, err, private)
	}
	if _, err := dataFolder("x", []string{filepath.Join(disk, "absent"), private}, stranger); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("error %v, want one that names TMPDIR", err)
	}
	const shm = "/dev/shm"
	if memory, err := inMemory(shm); err != nil || !memory {
		t.Skip("no tmpfs to try: ", err)
	}
	if got, err := dataFolder("x", []string{shm, disk}, nil); err != nil || filepath.Dir(got) != disk {
		t.Errorf("%s, %v: want it in %s, since fsync is free in memory", got, err, disk)
	}
}
