package prefork

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for something that must happen.
const patience = 15 * time.Second

// eventually waits until check holds.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-end:
			t.Fatalf("waited %v in vain: %s", patience, what)
		case <-tick.C:
		}
	}
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// running is a master in this process with real workers.
type running struct {
	t       *testing.T
	signals chan os.Signal // to the master
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // of the master, once done is closed
	log     *buffer

	mu      sync.Mutex
	history []Roster
}

// launch starts a master whose workers behave as named. It is stopped at the end of the test, if the test did not.
func launch(t *testing.T, behaviour string, cfg Config) *running {
	t.Helper()
	return launchWith(t, workerEnvironment(behaviour), cfg)
}

// launchWith is launch with workers that have this environment.
func launchWith(t *testing.T, env []string, cfg Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, signals: make(chan os.Signal, 8), cancel: cancel, done: make(chan struct{}), log: &buffer{}}
	cfg.Addr = "127.0.0.1:0"
	cfg.Log = slog.New(slog.NewTextHandler(r.log, nil))
	cfg.Stderr = r.log
	cfg.Command = func() (Command, error) { return Command{Env: env}, nil }
	cfg.OnChange = func(roster Roster) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.history = append(r.history, roster)
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		m := newMaster(cfg, realSystem(cfg.Mode), r.signals)
		r.err = m.run(ctx, m.open)
	}()
	t.Cleanup(func() {
		r.cancel()
		_ = r.result() // a test that wants it has read it
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

// workerEnvironment also takes away the second that the race detector waits at the end of a process.
func workerEnvironment(behaviour string) []string {
	return append(os.Environ(), behaviourEnv+"="+behaviour, "GORACE=atexit_sleep_ms=0")
}

// result waits for the end of the master and returns its error.
func (r *running) result() error {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Fatalf("the master does not end:\n%s", r.log)
	}
	return r.err
}

func (r *running) stop() error {
	r.t.Helper()
	r.cancel()
	return r.result()
}

func (r *running) rosters() []Roster {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.history)
}

func (r *running) roster() Roster {
	all := r.rosters()
	if len(all) == 0 {
		return Roster{}
	}
	return all[len(all)-1]
}

// await waits for a roster that is as described and returns it.
func (r *running) await(what string, check func(Roster) bool) Roster {
	r.t.Helper()
	eventually(r.t, what, func() bool { return check(r.roster()) })
	return r.roster()
}

// settled says that all wanted workers serve and no other is left.
func settled(r Roster) bool { return r.Ready() && len(r.Workers) == r.Wanted }

func (r *running) awaitSettled() Roster {
	r.t.Helper()
	return r.await("all workers serve", settled)
}

func pids(r Roster) []int {
	var all []int
	for _, m := range r.Workers {
		all = append(all, m.PID)
	}
	return all
}

// disjoint says that no process of the one is in the other.
func disjoint(a, b []int) bool {
	return !slices.ContainsFunc(a, func(pid int) bool { return slices.Contains(b, pid) })
}

// isAlive says whether the process runs. One that has ended and waits for somebody to ask how (an orphan, where process 1
// is slow) does not.
func isAlive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// client makes a connection per request, and never sends a request twice.
var client = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: patience},
	Timeout:   patience,
}

func ask(addr string) (who, error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/", nil)
	if err != nil {
		return who{}, err
	}
	return do(req)
}

func do(req *http.Request) (who, error) {
	var answer who
	res, err := client.Do(req)
	if err != nil {
		return answer, err
	}
	defer func() { _ = res.Body.Close() }()
	return answer, json.NewDecoder(res.Body).Decode(&answer)
}

// held is a request in flight. The worker answers when its body ends.
type held struct {
	slot   string // of the worker
	body   *io.PipeWriter
	answer chan error
	who    who
}

// hold sends a request and returns when a worker has begun to read its body: then the server says "100 Continue".
func hold(t *testing.T, addr string) *held {
	t.Helper()
	read, write := io.Pipe()
	h := &held{body: write, answer: make(chan error, 1)}
	begun := make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints {
				h.slot = header.Get("Slot")
			}
			return nil
		},
		Got100Continue: func() { close(begun) },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/", read)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	go func() {
		h.who, err = do(req)
		h.answer <- err
	}()
	select {
	case <-begun:
	case <-time.After(patience):
		t.Fatal("nobody reads the request")
	}
	return h
}

func (h *held) finish(t *testing.T) who {
	t.Helper()
	_ = h.body.Close()
	select {
	case err := <-h.answer:
		if err != nil {
			t.Fatalf("a request in flight was lost: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("a request in flight gets no answer")
	}
	return h.who
}

// load asks from several goroutines until stop is called. stop returns how many answers each process gave, and the errors.
func load(addr string) (stop func() (answers map[int]int, failures []error)) {
	var (
		mu       sync.Mutex
		wg       sync.WaitGroup
		answers  = map[int]int{}
		failures []error
		quit     = make(chan struct{})
	)
	one := func() {
		a, err := ask(addr)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failures = append(failures, err)
			return
		}
		answers[a.PID]++
	}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
					one()
				}
			}
		})
	}
	return func() (map[int]int, []error) {
		close(quit)
		wg.Wait()
		return answers, failures
	}
}

func TestRunServesFromEveryWorkerAndStopsCleanly(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{ReusePort, Shared} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := launch(t, behaveWell, Config{Workers: 3, Mode: mode})
			roster := r.awaitSettled()
			if !roster.Started || roster.MasterPID != os.Getpid() {
				t.Errorf("roster = %+v", roster)
			}
			seen := map[int]who{}
			eventually(t, "the workers answer", func() bool {
				a, err := ask(roster.Addr)
				if err != nil {
					t.Fatal(err)
				}
				seen[a.Slot] = a
				return len(seen) == 3 || (mode == Shared && a.Workers == 3) // where one worker may take all
			})
			for slot, a := range seen {
				if a.PGID != a.PID || a.Parent != os.Getpid() || a.MasterPID != os.Getpid() || a.Workers != 3 {
					t.Errorf("slot %d: %+v", slot, a)
				}
			}
			if err := r.stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
			for _, pid := range pids(roster) {
				if isAlive(pid) {
					t.Errorf("process %d is left", pid)
				}
			}
			// Not at once: another test may be forking, with a copy of all descriptors for a moment.
			eventually(t, "the port is free", func() bool { return isFree(roster.Addr) })
		})
	}
}

// isFree says whether nobody listens there.
func isFree(addr string) bool {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	_ = ln.Close()
	return true
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 2})
	addr := r.awaitSettled().Addr
	h := hold(t, addr)
	r.cancel()
	r.await("all leave", func(roster Roster) bool { return roster.Count(Leaving) > 0 && roster.Count(Serving) == 0 })
	eventually(t, "new connections are refused", func() bool {
		_, err := ask(addr)
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	h.finish(t)
	if err := r.result(); err != nil {
		t.Error(err)
	}
}

// Requests that wait in the accept queue when the master is told to stop are answered too.
func TestStopEmptiesTheAcceptQueue(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 1, DrainTimeout: patience, HeartbeatTimeout: -1})
	roster := r.awaitSettled()
	pause(t, roster.Workers[0].PID)
	answers := make(chan error, 200) // more than the worker accepts before it heeds SIGTERM
	for range cap(answers) {
		conn := send(t, roster.Addr)
		go func() { answers <- receive(conn) }()
	}
	r.cancel()
	eventually(t, "the master stops", func() bool { return strings.Contains(r.log.String(), "stopping the workers") })
	if err := syscall.Kill(roster.Workers[0].PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Errorf("a waiting request was lost: %v", err)
		}
	}
	if err := r.result(); err != nil {
		t.Error(err)
	}
}

func TestStopKillsWhoDoesNotStop(t *testing.T) {
	t.Parallel()
	r := launch(t, stubborn, Config{Workers: 2, StopTimeout: 100 * time.Millisecond})
	roster := r.awaitSettled()
	err := r.stop()
	if err == nil || strings.Count(err.Error(), "did not stop in time and was killed") != 2 {
		t.Errorf("err = %v, want one sentence for each worker", err)
	}
	for _, pid := range pids(roster) {
		if isAlive(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
}

func TestQuitIsQuick(t *testing.T) {
	t.Parallel()
	r := launch(t, stubborn, Config{Workers: 2, StopTimeout: time.Minute, QuickTimeout: 50 * time.Millisecond})
	r.awaitSettled()
	r.signals <- syscall.SIGQUIT
	if err := r.result(); err != nil {
		t.Error(err)
	}
}

// While the only worker is stopped, requests wait in its accept queue. It is killed: its successor answers them.
func TestCrashKeepsTheAcceptQueue(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{ReusePort, Shared} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := launch(t, behaveWell, Config{Workers: 1, Mode: mode, HeartbeatTimeout: -1})
			first := r.awaitSettled()
			victim := first.Workers[0].PID
			pause(t, victim)
			answers := make(chan error, 8)
			for range cap(answers) {
				conn := send(t, first.Addr)
				go func() { answers <- receive(conn) }()
			}
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			for range cap(answers) {
				if err := <-answers; err != nil {
					t.Errorf("a waiting request was lost: %v", err)
				}
			}
			second := r.await("another serves", func(now Roster) bool { return settled(now) && now.Workers[0].PID != victim })
			if second.Workers[0].Slot != 0 {
				t.Errorf("roster = %+v", second)
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// pause stops a process and waits until the kernel has done so.
func pause(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
}

// send opens a connection and sends a request. It does not wait for anybody to accept it.
func send(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

func receive(conn net.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(patience))
	answer, err := io.ReadAll(conn)
	if err == nil && !bytes.HasPrefix(answer, []byte("HTTP/1.0 200")) {
		err = fmt.Errorf("answer %q", answer)
	}
	return err
}

func TestDeadWorkersAreReplaced(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 2})
	before := r.awaitSettled()
	_ = syscall.Kill(before.Workers[1].PID, syscall.SIGKILL)
	victim := before.Workers[0].PID
	eventually(t, "slot 0 exits", func() bool {
		if res, err := client.Get(fmt.Sprintf("http://%s/exit?pid=%d", before.Addr, victim)); err == nil {
			_ = res.Body.Close()
		}
		return !isAlive(victim)
	})
	after := r.await("both are replaced", func(now Roster) bool { return settled(now) && disjoint(pids(before), pids(now)) })
	if after.Workers[0].Slot != 0 || after.Workers[1].Slot != 1 {
		t.Errorf("roster = %+v", after)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestWorkerToldToStopBySomebodyElse(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 1})
	before := r.awaitSettled()
	h := hold(t, before.Addr)
	if err := syscall.Kill(before.Workers[0].PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.await("another serves while it finishes", func(now Roster) bool { return now.Count(Leaving) == 1 && now.Count(Serving) == 1 })
	if a := h.finish(t); a.PID != before.Workers[0].PID {
		t.Errorf("the request in flight was answered by %+v", a)
	}
	r.awaitSettled()
}

// A worker that runs must not notice that another one is forked from the same socket: a blocking socket would keep it
// in accept, so that it could not stop.
func TestForkLeavesTheSharedSocketNonBlocking(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 2, Mode: Shared, StopTimeout: 3 * time.Second})
	before := r.awaitSettled()
	_ = syscall.Kill(before.Workers[1].PID, syscall.SIGKILL)
	r.await("the worker is replaced", func(now Roster) bool {
		return settled(now) && now.Workers[1].PID != before.Workers[1].PID
	})
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestBadConfigurationEndsAtOnce(t *testing.T) {
	t.Parallel()
	r := launch(t, badConfig, Config{Workers: 4})
	err := r.result()
	var exit *ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("err = %v, want an ExitError", err)
	}
	if exit.Code != BadConfigCode || exit.Failures != 1 || exit.PID == 0 || !strings.Contains(err.Error(), "the database does not answer") {
		t.Errorf("err = %+v", exit)
	}
	if n := strings.Count(r.log.String(), "\nthe database does not answer\n"); n != 1 {
		t.Errorf("the sentence is written %d times, want once:\n%s", n, r.log)
	}
}

func TestEarlyCrashesEndTheMaster(t *testing.T) {
	t.Parallel()
	r := launch(t, crashEarly, Config{Workers: 2, MaxFailures: 3, BackoffMin: time.Millisecond})
	err := r.result()
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 7 || exit.Failures != 3 || !strings.Contains(err.Error(), "3 times in a row: no luck") {
		t.Errorf("err = %v", err)
	}
}

func TestWorkerThatDoesNotComeUpIsKilled(t *testing.T) {
	t.Parallel()
	r := launch(t, neverReady, Config{Workers: 1, MaxFailures: 2, BackoffMin: time.Millisecond, ReadyTimeout: 50 * time.Millisecond})
	err := r.result()
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 1 || exit.Signal != syscall.SIGKILL || !strings.Contains(err.Error(), "not ready within 50ms") {
		t.Errorf("err = %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	r := launch(t, behaveWell, Config{Workers: 2})
	addr := r.awaitSettled().Addr
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := Run(ctx, Config{Addr: addr, Workers: 2, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("err = %v, want address in use", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no address":    {},
		"no workers":    {Addr: ":0", Workers: -1},
		"too many":      {Addr: ":0", Workers: 5, MaxWorkers: 4},
		"unknown mode":  {Addr: ":0", Mode: "both"},
		"far too many":  {Addr: ":0", Workers: MaxWorkers + 1},
		"no such place": {Addr: "127.0.0.1:http-not-a-port"},
		"bad command":   {Addr: ":0", Command: func() (Command, error) { return Command{}, errors.New("no file") }},
	} {
		cfg.Log = slog.New(slog.DiscardHandler)
		if err := Run(t.Context(), cfg); err == nil || !strings.HasPrefix(err.Error(), "prefork: ") {
			t.Errorf("%s: err = %v", name, err)
		}
	}
}
