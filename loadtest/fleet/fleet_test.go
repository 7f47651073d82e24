package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/schedule"
)

// asMember makes this test binary a member.
const asMember = "FLEET_TEST_MEMBER"

func TestMain(m *testing.M) {
	switch os.Getenv(asMember) {
	case "yes":
		if err := Member(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "dies":
		os.Exit(3)
	default:
		os.Exit(m.Run())
	}
}

func testBinary(as string) Command {
	return func() (*exec.Cmd, error) {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), asMember+"="+as)
		return c, nil
	}
}

// service sells so many units, and remembers from where it was asked.
type service struct {
	mu    sync.Mutex
	stock int
	from  map[string]bool
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	s.from[host] = true
	if s.stock == 0 {
		w.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintf(w, `{"code":%q}`, attack.CodeOutOfStock)
		return
	}
	s.stock--
	w.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprint(w, `{"order_id":1,"total_cents":1999}`)
}

func serve(t *testing.T, stock int) (*service, string) {
	t.Helper()
	s := &service{stock: stock, from: map[string]bool{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

func TestFlashSaleFromSeveralProcesses(t *testing.T) {
	s, url := serve(t, 100)
	var last attack.Progress
	var responses int64
	cfg := attack.Config{Target: url, Workload: attack.FlashSale, Users: 20, ProductIDs: []int64{7}, Duration: 20 * time.Second,
		ProgressEvery: 20 * time.Millisecond, Progress: func(p attack.Progress) { last = p; responses += p.Response.Count() }}
	result, err := Run(t.Context(), cfg, 3, testBinary("yes"))
	if err != nil {
		t.Fatal(err)
	}
	users := map[int64]bool{}
	for o := range result.Outcomes() {
		users[o.UserID] = true
	}
	if result.Counts.Accepted != 100 || result.Counts.Rejected != 40 || len(users) != 20 || !users[1] || !users[20] {
		t.Errorf("%+v, %d users", result.Counts, len(users))
	}
	if len(s.from) < 3 {
		t.Errorf("asked from %v", s.from)
	}
	if responses == 0 || responses > 100 {
		t.Errorf("the progress told of %d response times", responses)
	}
	if last.Accepted == 0 || last.Duration != cfg.Duration {
		t.Errorf("progress %+v", last)
	}
}

func TestOpenModelFromSeveralProcesses(t *testing.T) {
	_, url := serve(t, 1e9)
	timetable, err := schedule.New(schedule.Plan{Rate: 300, Duration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	cfg := attack.Config{Target: url, Workload: attack.Sustained, Users: 30, ProductIDs: []int64{7}, Duration: time.Second, Schedule: timetable}
	result, err := Run(t.Context(), cfg, 2, testBinary("yes"))
	if err != nil {
		t.Fatal(err)
	}
	if due := result.Counts.Requests + result.Open.Dropped; due < 296 || due > 302 || result.Open.Plan.Rate != 300 {
		t.Errorf("%d due at %g/s", due, result.Open.Plan.Rate)
	}
}

func TestARunEndsWithItsContext(t *testing.T) {
	_, url := serve(t, 1e9)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := attack.Config{Target: url, Workload: attack.Sustained, Users: 4, ProductIDs: []int64{7}, Duration: time.Minute,
		ProgressEvery: 10 * time.Millisecond, Progress: func(p attack.Progress) {
			if p.Accepted > 0 {
				cancel()
			}
		}}
	begin := time.Now()
	result, err := Run(ctx, cfg, 2, testBinary("yes"))
	if !errors.Is(err, attack.ErrInterrupted) || result == nil || result.Counts.Accepted == 0 || time.Since(begin) > 20*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

func TestAMemberThatFailsEndsTheRun(t *testing.T) {
	cfg := attack.Config{Target: "http://127.0.0.1:1", Workload: attack.Sustained, Users: 4, ProductIDs: []int64{7}, Duration: time.Minute}
	if _, err := Run(t.Context(), cfg, 2, testBinary("yes")); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := Run(t.Context(), cfg, 2, testBinary("dies")); err == nil {
		t.Error("a member that dies is not noticed")
	}
	none := func() (*exec.Cmd, error) { return nil, errors.New("no command") }
	if _, err := Run(t.Context(), cfg, 2, none); err == nil || !strings.Contains(err.Error(), "process 1 of 2: no command") {
		t.Errorf("got %v", err)
	}
	if _, err := Run(t.Context(), cfg, 5, testBinary("yes")); err == nil {
		t.Error("more processes than users")
	}
}

func TestProcesses(t *testing.T) {
	for _, tt := range []struct {
		users int
		limit uint64
		want  int
	}{{1, 0, 1}, {24_000, 0, 1}, {24_001, 0, 2}, {100, 1024, 1}, {961, 1024, 2}, {20_000, 20_000, 2}, {5000, 200, 37}, {5, 3, 5}} {
		if got := Processes(tt.users, tt.limit); got != tt.want {
			t.Errorf("%d users with %d files: %d processes, want %d", tt.users, tt.limit, got, tt.want)
		}
	}
}

func TestSourceAddr(t *testing.T) {
	for target, want := range map[string]string{
		"http://127.0.0.1:80": "127.0.1.3", "http://localhost:80": "", "http://192.0.2.1": "", "http://[::1]:80": "", "\x00": "",
	} {
		if got := sourceAddr(target, 2); got != want {
			t.Errorf("%q: %q", target, got)
		}
	}
}
