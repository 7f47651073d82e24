package backing

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/procfs"
)

func TestKilledOwner(t *testing.T) {
	t.Parallel()
	needsLocal(t)
	o := spawnReady(t, ownerConfig{Cache: t.TempDir(), Redis: true})
	pg, rd := postgresTraces(t, o.postgres.URL), redisTraces(t, o.redis.URL)
	if !pg.present() || !rd.present() {
		t.Fatal("folder or process cannot be seen: the checks below would prove nothing")
	}
	o.kill(t)
	eventually(t, "postgres and redis gone, their folders removed", func() bool { return pg.gone() && rd.gone() })
}

func TestOwnerKilledWhileItStarts(t *testing.T) {
	t.Parallel()
	needsLocal(t)
	temp := diskFolder(t)
	o, _ := spawn(t, ownerConfig{Cache: t.TempDir(), Temp: []string{temp}, Redis: true})
	eventually(t, "initdb at work", func() bool {
		found, _ := filepath.Glob(filepath.Join(temp, "flashsale-postgres-*", "data", "*"))
		return len(found) > 0
	})
	o.kill(t)
	eventually(t, "all folders removed", func() bool {
		entries, err := os.ReadDir(temp)
		return err == nil && len(entries) == 0
	})
}

func TestSignalledSupervisor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child of its parent's death, and has /proc")
	}
	t.Parallel()
	needsLocal(t)
	s, err := start(t.Context(), Options{}, bareMachine(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	tr := postgresTraces(t, s.Postgres.URL)
	server, err := procfs.NewProc(tr.pid)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := server.Stat()
	if err != nil {
		t.Fatal(err)
	}
	supervisor, err := procfs.NewProc(stat.PPID)
	if err != nil {
		t.Fatal(err)
	}
	if argv, err := supervisor.CmdLine(); err != nil || !strings.HasPrefix(argv[0], "flashsale-") {
		t.Fatalf("process %d is %v, not a supervisor (%v)", stat.PPID, argv, err)
	}
	// What a terminal sends to process groups does not end it.
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE} {
		if err := syscall.Kill(stat.PPID, signal); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := checkPostgres(t.Context(), s.Postgres.URL); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(stat.PPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "postgres gone", func() bool { return syscall.Kill(tr.pid, 0) == syscall.ESRCH })
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "supervisor died") {
		t.Errorf("Close says %v, want that the supervisor died", err)
	}
	if err := os.RemoveAll(tr.dir); err != nil {
		t.Error(err)
	}
}

func TestSharedInstance(t *testing.T) {
	t.Parallel()
	needsLocal(t)
	cache := t.TempDir()
	m := bareMachine(cache)
	private := spawnReady(t, ownerConfig{Cache: cache})
	if url, ok := findPostgres(t.Context(), m); ok {
		t.Error("an owner that does not share was found: ", url)
	}
	private.end(t)

	o := spawnReady(t, ownerConfig{Cache: cache, Redis: true, Share: true})
	for _, name := range []string{"postgres.json", "redis.json"} {
		info, err := os.Stat(filepath.Join(cache, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; it holds a password", name, info, err)
		}
	}
	if url, ok := findPostgres(t.Context(), m); !ok || url != o.postgres.URL {
		t.Errorf("FindPostgres: %q, %v; want %q", url, ok, o.postgres.URL)
	}
	guest := startHere(t, Options{Redis: true}, m)
	if guest.Postgres != (Service{URL: o.postgres.URL, Source: SharedInstance, Version: o.postgres.Version}) {
		t.Errorf("got %+v, want %+v", guest.Postgres, o.postgres)
	}
	if guest.Redis.URL != o.redis.URL || guest.Redis.Source != SharedInstance {
		t.Errorf("got %+v, want %+v", guest.Redis, o.redis)
	}
	if err := guest.Close(); err != nil {
		t.Error(err)
	}
	if _, err := checkPostgres(t.Context(), o.postgres.URL); err != nil {
		t.Error("the guest closed what is not its own: ", err)
	}
	o.end(t)
	if _, err := os.Stat(filepath.Join(cache, "postgres.json")); !os.IsNotExist(err) {
		t.Error("the file is still there: ", err)
	}
}

func TestStaleInstance(t *testing.T) {
	t.Parallel()
	needsLocal(t)
	cache := t.TempDir()
	m := bareMachine(cache)
	o := spawnReady(t, ownerConfig{Cache: cache, Share: true})
	file := filepath.Join(cache, "postgres.json")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o.kill(t)
	if url, ok := findPostgres(t.Context(), m); ok {
		t.Error("a dead owner's instance was found: ", url)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Error("the stale file is still there: ", err)
	}

	// The same, but a process that lives now has got the dead owner's pid.
	reused := strings.Replace(string(content), strconv.Itoa(o.cmd.Process.Pid), strconv.Itoa(os.Getpid()), 1)
	if reused == string(content) {
		t.Fatal("no pid in ", reused)
	}
	if err := os.WriteFile(file, []byte(reused), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startHere(t, Options{}, m)
	if s.Postgres.Source != LocalBinaries {
		t.Error("taken from a stale file: ", s.Postgres)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Error("the stale file is still there: ", err)
	}
}

func TestForeignFileIsNotTrusted(t *testing.T) {
	t.Parallel()
	sh := shares{file: filepath.Join(t.TempDir(), "postgres.json"), name: "postgres"}
	if err := sh.publish(Service{URL: "postgres://127.0.0.1:1/x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := sh.read(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(sh.file, 0o666); err != nil {
		t.Fatal(err)
	}
	if p, err := sh.read(); err == nil {
		t.Error("a file that others may write to was trusted: ", p)
	}
}

func TestTwoSharersAtOnce(t *testing.T) {
	t.Parallel()
	needsLocal(t)
	cache := t.TempDir()
	a, outA := spawn(t, ownerConfig{Cache: cache, Share: true})
	b, outB := spawn(t, ownerConfig{Cache: cache, Share: true})
	a.await(t, outA)
	b.await(t, outB)
	if a.postgres.URL != b.postgres.URL {
		t.Errorf("two instances: %s, %s", a.postgres.URL, b.postgres.URL)
	}
	sources := []string{a.postgres.Source, b.postgres.Source}
	if sources[0] == sources[1] {
		t.Errorf("sources %v, want one that started it and one that found it", sources)
	}
	if a.postgres.Source == SharedInstance {
		a, b = b, a
	}
	b.end(t)
	if _, ok := findPostgres(t.Context(), bareMachine(cache)); !ok {
		t.Error("the guest withdrew what is not its own")
	}
	a.end(t)
}
