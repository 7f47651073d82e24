package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/contract"
	"example.com/flashsale/harness/stage"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// patience bounds every wait for something that should happen soon. It is long, because the machine may be busy, and
	// costs nothing where the thing happens.
	patience = 20 * time.Second
	// atOnce bounds what must not wait: far below the request time-outs that the tests set, far above a busy machine's
	// hiccups.
	atOnce = 3 * time.Second
	// price is what every test product costs, in cents.
	price = 1999
)

// quickRaceExit spares each process the second that the race detector sleeps before it exits.
const quickRaceExit = "GORACE=atexit_sleep_ms=10"

// fixture is a stage on a database of its own.
type fixture struct {
	*testing.T
	*suite
	spec    stage.Spec
	process *stage.Process
	db      *pgxpool.Pool
	client  *contract.Client // a new connection for each request: any worker may answer
	log     *logBuffer
}

// redisDatabases deals out Redis' numbered databases: product 2 of one test must not wait for the lock of another's.
var redisDatabases atomic.Uint32

// prepare makes the database and what is needed to start a stage on it. The stage's default guard is set, and the
// settings after it.
func (s *suite) prepare(t *testing.T, env ...string) *fixture {
	t.Helper()
	databaseURL, drop, err := backing.NewDatabase(t.Context(), s.services.Postgres.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := drop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	redisURL, err := url.Parse(s.services.Redis.URL)
	if err != nil {
		t.Fatal(err)
	}
	redisURL.Path = fmt.Sprintf("/%d", redisDatabases.Add(1)%16)
	db, err := pgxpool.New(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	settings := []string{quickRaceExit, "GUARD=" + s.opt.Guards[0]}
	if s.opt.Processes > 0 {
		settings = append(settings, fmt.Sprintf("PROCESSES=%d", s.opt.Processes))
	}
	f := &fixture{T: t, suite: s, db: db, log: &logBuffer{}}
	f.spec = stage.Spec{
		Name: s.name, Binary: s.binary, Env: slices.Concat(settings, s.opt.Env, env),
		DatabaseURL: databaseURL, RedisURL: redisURL.String(), Log: f.log, ReadyTimeout: patience,
	}
	return f
}

// patientGuard is the setting of a guard whose lock does not expire, for tests that hold the row as long as they like.
func (s *suite) patientGuard() string {
	for _, guard := range s.opt.Guards {
		if guard != "redlock" {
			return "GUARD=" + guard
		}
	}
	return "GUARD=" + s.opt.Guards[0]
}

// start starts a stage. When the test ends, the stage must still be able to stop cleanly, unless the test has ended it.
func (s *suite) start(t *testing.T, env ...string) *fixture {
	t.Helper()
	f := s.prepare(t, env...)
	f.run()
	return f
}

func (f *fixture) run() {
	f.Helper()
	process, err := stage.Start(f.Context(), f.spec)
	if err != nil {
		f.Fatal(err)
	}
	f.process, f.client = process, contract.NewClient(process.URL, false)
	f.Cleanup(f.finish)
}

// sub runs a subtest with the same stage.
func (f *fixture) sub(name string, test func(*fixture)) {
	f.Run(name, func(t *testing.T) {
		inner := *f
		inner.T = t
		test(&inner)
	})
}

// finish stops the stage and looks through its log.
func (f *fixture) finish() {
	select {
	case <-f.process.Exited():
	default:
		// Not the test's context: that has ended by now.
		if err := f.process.Stop(context.Background()); err != nil {
			f.Error(err)
		}
	}
	log := f.log.String()
	if at := strings.Index(log, "WARNING: DATA RACE"); at >= 0 {
		f.Errorf("the stage has a data race:\n%s", log[at:min(len(log), at+8000)])
	}
	if f.Failed() {
		f.Logf("the stage's last log lines:\n%s", log[max(0, len(log)-4000):])
	}
}

// command runs the stage's binary with flags that make it end at once, and nothing of a stage's environment.
func (f *fixture) command(flags ...string) *exec.Cmd {
	command := exec.CommandContext(f.Context(), f.binary, flags...)
	command.Env = []string{quickRaceExit}
	return command
}

const insertProduct = `INSERT INTO products (name, price_cents, stock) VALUES ('test', $1, $2) RETURNING id`

// product makes a product with that stock and returns its id.
func (f *fixture) product(stock int64) int64 {
	f.Helper()
	var id int64
	if err := f.db.QueryRow(f.Context(), insertProduct, price, stock).Scan(&id); err != nil {
		f.Fatal(err)
	}
	return id
}

// number runs a query that gives one whole number.
func (f *fixture) number(query string, args ...any) int64 {
	f.Helper()
	var n int64
	if err := f.db.QueryRow(f.Context(), query, args...).Scan(&n); err != nil {
		f.Fatalf("%s: %v", query, err)
	}
	return n
}

func (f *fixture) stock(product int64) int64 {
	f.Helper()
	return f.number(`SELECT stock FROM products WHERE id = $1`, product)
}

func (f *fixture) orders(product int64) int64 {
	f.Helper()
	return f.number(`SELECT count(*) FROM orders WHERE product_id = $1`, product)
}

// wantSold checks the product in the database: so many orders of one unit each are there, and so much stock is left.
func (f *fixture) wantSold(product, orders, left int64) {
	f.Helper()
	if got := f.orders(product); got != orders {
		f.Errorf("product %d has %d orders, want %d", product, got, orders)
	}
	if got := f.stock(product); got != left {
		f.Errorf("product %d has a stock of %d left, want %d", product, got, left)
	}
}

// hold locks the product's row as an outsider, so that whoever wants to sell it waits. release frees it; the end of the
// test does too.
func (f *fixture) hold(product int64) (release func()) {
	f.Helper()
	tx, err := f.db.Begin(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	if _, err := tx.Exec(f.Context(), `SELECT 1 FROM products WHERE id = $1 FOR UPDATE`, product); err != nil {
		f.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := tx.Rollback(context.Background()); err != nil {
			f.Error(err)
		}
	})
	f.Cleanup(release)
	return release
}

// waitBlocked waits until sessions of the stage wait for a lock in the database.
func (f *fixture) waitBlocked() {
	f.Helper()
	eventually(f.T, "an order waits for the row", func() bool {
		return f.number(`SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = $1 AND wait_event_type = 'Lock'`, f.name) > 0
	})
}

// settle waits until the database works for the stage no more.
func (f *fixture) settle() {
	f.Helper()
	eventually(f.T, "the stage's sessions are idle", func() bool {
		return f.number(`SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = $1 AND state <> 'idle'`, f.name) == 0
	})
}

// waitExit waits for the end of the stage and returns its exit code.
func (f *fixture) waitExit(within time.Duration) int {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), within)
	defer cancel()
	if err := f.process.Wait(ctx); err != nil {
		f.Fatal(err)
	}
	return f.process.ExitCode()
}

// wantGone checks that the processes end at once. Those that do not must not outlive the test.
func (f *fixture) wantGone(pids []int) {
	f.Helper()
	f.Cleanup(func() {
		for _, pid := range pids {
			if f.Failed() && stage.Running(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	eventuallyWithin(f.T, atOnce, fmt.Sprintf("the processes %v have ended", pids), func() bool {
		return !slices.ContainsFunc(pids, stage.Running)
	})
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	eventuallyWithin(t, patience, what, condition)
}

func eventuallyWithin(t *testing.T, within time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited %v in vain until: %s", within, what)
		case <-tick.C:
		}
	}
}

// logBuffer keeps a stage's whole log.
type logBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}
