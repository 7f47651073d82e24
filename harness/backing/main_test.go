package backing

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// ownerVariable makes the test binary an owner of backing services, which tests can kill. Its value is an ownerConfig.
const ownerVariable = "BACKING_TEST_OWNER"

type ownerConfig struct {
	Cache     string
	Temp      []string // nil: the machine's
	Container bool     // only the container way
	Share     bool
	Redis     bool
}

func TestMain(m *testing.M) {
	if config := os.Getenv(ownerVariable); config != "" {
		os.Exit(own(config))
	}
	code := Main(m, Options{Redis: true})
	if err := goleak.Find(); err != nil && code == 0 {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// own starts services, prints them as JSON, and closes them when its stdin ends.
func own(config string) int {
	var c ownerConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		panic(err)
	}
	m := bareMachine(c.Cache)
	if c.Temp != nil {
		m.temp = c.Temp
	}
	if c.Container {
		m = containerMachine(m)
	}
	s, err := start(context.Background(), Options{Redis: c.Redis, Share: c.Share, Out: os.Stderr}, m)
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode([]Service{s.Postgres, s.Redis}); err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Close(); err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

// bareMachine has the real binaries and nothing else: no environment, no container engine, a cache of its own.
func bareMachine(cache string) machine {
	m := thisMachine()
	m.cache = cache
	m.containers = false
	m.getenv = func(name string) string {
		if name == "PATH" {
			return os.Getenv("PATH")
		}
		return ""
	}
	return m
}

// containerMachine is a machine without servers of its own.
func containerMachine(m machine) machine {
	m.binaries, m.containers = nil, true
	m.getenv = func(string) string { return "" }
	return m
}

// needsLocal skips where way 3 does not exist.
func needsLocal(t *testing.T) {
	t.Helper()
	m := bareMachine("")
	if _, ok := m.program("initdb", "postgres"); !ok {
		t.Skip("no Postgres on this machine")
	}
	if _, _, ok := m.redisProgram(); !ok {
		t.Skip("no Redis on this machine")
	}
}

// needsEngine skips where way 4 does not exist.
func needsEngine(t *testing.T) {
	t.Helper()
	if _, err := engine(t.Context()); err != nil {
		t.Skip("no container engine answers: ", err)
	}
}

// startHere starts services in this process, on m.
func startHere(t *testing.T, opt Options, m machine) *Services {
	t.Helper()
	s, err := start(t.Context(), opt, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// owner is a process that owns services.
type owner struct {
	cmd             *exec.Cmd
	stdin           io.Closer
	postgres, redis Service
}

// spawn starts an owner without waiting for its services.
func spawn(t *testing.T, c ownerConfig) (*owner, io.Reader) {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), ownerVariable+"="+string(config))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &owner{cmd: cmd, stdin: stdin}
	t.Cleanup(func() { o.kill(t) })
	return o, stdout
}

// spawnReady starts an owner and waits until its services answer.
func spawnReady(t *testing.T, c ownerConfig) *owner {
	t.Helper()
	o, out := spawn(t, c)
	o.await(t, out)
	return o
}

func (o *owner) await(t *testing.T, out io.Reader) {
	t.Helper()
	var services []Service
	if err := json.NewDecoder(out).Decode(&services); err != nil {
		t.Fatal("the owner did not start: ", err)
	}
	o.postgres, o.redis = services[0], services[1]
}

// kill ends the owner with SIGKILL. A second call does nothing.
func (o *owner) kill(t *testing.T) {
	t.Helper()
	if o.cmd.ProcessState != nil {
		return
	}
	if err := o.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = o.cmd.Wait() // "signal: killed"
}

// end lets the owner close its services.
func (o *owner) end(t *testing.T) {
	t.Helper()
	if err := o.stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := o.cmd.Wait(); err != nil {
		t.Error("owner: ", err)
	}
}

// eventually waits until condition holds, at most 30 seconds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatal("never: ", what)
		}
	}
}

// query returns one text from the database.
func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	var text string
	if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatal(sql, ": ", err)
	}
	return text
}

// redisClient is closed at the end of the test.
func redisClient(t *testing.T, url string) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// traces are what a local server leaves on the machine while it runs.
type traces struct {
	dir string
	pid int
}

func postgresTraces(t *testing.T, url string) traces {
	t.Helper()
	data := query(t, url, "SHOW data_directory")
	content, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	return traces{dir: filepath.Dir(data), pid: atoi(t, first)}
}

func redisTraces(t *testing.T, url string) traces {
	t.Helper()
	client := redisClient(t, url)
	dir, err := client.ConfigGet(t.Context(), "dir").Result()
	if err != nil {
		t.Fatal(err)
	}
	info, err := client.InfoMap(t.Context(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	return traces{dir: dir["dir"], pid: atoi(t, info["Server"]["process_id"])}
}

func (tr traces) present() bool {
	_, err := os.Stat(tr.dir)
	return err == nil && syscall.Kill(tr.pid, 0) == nil
}

func (tr traces) gone() bool {
	_, err := os.Stat(tr.dir)
	return os.IsNotExist(err) && syscall.Kill(tr.pid, 0) == syscall.ESRCH
}

// diskFolder is a folder on a disk that unprivileged users can reach, which t.TempDir is not.
func diskFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "backing-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func hostOf(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
