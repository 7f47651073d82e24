package chaos

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

// shop is a service whose answers to the attempts of one key are given: "201", "503", "504" or "reset"; the last one is
// repeated.
type shop struct {
	*httptest.Server
	script []string
	mu     sync.Mutex // guards script and asked
	asked  map[string]int
}

func newShop(t *testing.T, script ...string) *shop {
	t.Helper()
	s := &shop{script: script, asked: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	key := r.Header.Get("Idempotency-Key")
	answer := s.script[min(s.asked[key], len(s.script)-1)]
	s.asked[key]++
	s.mu.Unlock()
	switch answer {
	case "reset":
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	case "201":
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprint(w, `{"order_id":7,"total_cents":1999}`)
	default:
		w.WriteHeader(map[string]int{"200": 200, "503": 503, "504": 504}[answer])
		_, _ = fmt.Fprintf(w, `{"code":"code%s"}`, answer)
	}
}

// drive lets the buyers order until so many orders are known.
func drive(t *testing.T, s *shop, orders int64) *load {
	t.Helper()
	l, err := startLoad(t.Context(), s.URL, database.Product{ID: 3}, 4, 1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); l.accepted.Load() < orders; {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the orders are not answered")
		}
	}
	return l
}

func newFault() *report.Fault {
	return &report.Fault{ByCode: map[string]int64{}}
}

// TestRetries: a buyer asks under the same key until it knows, and every attempt is counted as what it was.
func TestRetries(t *testing.T) {
	t.Parallel()
	s := newShop(t, "503", "reset", "504", "201")
	l := drive(t, s, 10)
	l.finish()
	f := newFault()
	l.account(f, time.Minute)
	n := f.Orders
	if n < 10 || f.Requests != 4*n || f.Accepted != n || f.Failed != n || f.Unknown != 2*n || f.Retried != 3*n || f.Twice != n || f.Unanswered != 0 {
		t.Errorf("%+v", f)
	}
	if f.ByCode["code503"] != n || f.ByCode[attack.CodeReset] != n || f.ByCode["code504"] != n {
		t.Errorf("by code: %v", f.ByCode)
	}
	if f.LongestWaitMS < 30 || f.LoadPerSecond <= 0 {
		t.Errorf("longest wait %v ms, %v per second", f.LongestWaitMS, f.LoadPerSecond)
	}
	if int64(len(s.asked)) != n {
		t.Errorf("%d keys for %d orders", len(s.asked), n)
	}
	var accepted int64
	for a := range l.knowledge() {
		if a.ProductID != 3 || a.Quantity != 1 || a.UserID < 1 || a.UserID > 4 {
			t.Fatalf("%+v", a)
		}
		if a.Class == audit.Accepted && a.OrderID == 7 && a.TotalCents == 1999 {
			accepted++
		}
	}
	if accepted != n {
		t.Errorf("the audit hears of %d accepted orders, want %d", accepted, n)
	}
}

// TestReplayedIsKnown: the answer to a retry whose order was there.
func TestReplayedIsKnown(t *testing.T) {
	t.Parallel()
	l := drive(t, newShop(t, "reset", "200"), 5)
	l.finish()
	f := newFault()
	l.account(f, time.Minute)
	if f.Replayed != f.Orders || f.Unknown != f.Orders || f.Twice != 0 || f.Unanswered != 0 {
		t.Errorf("%+v", f)
	}
}

// TestAbandon: whoever is still without an answer is counted, and nobody goes on.
func TestAbandon(t *testing.T) {
	t.Parallel()
	s := newShop(t, "201")
	l := drive(t, s, 5)
	s.mu.Lock()
	s.script, s.asked = []string{"503"}, map[string]int{}
	s.mu.Unlock()
	asked := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.asked)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for asked() < 4 {
		<-tick.C
	}
	l.abandon()
	f := newFault()
	l.account(f, time.Minute)
	if f.Unanswered != 4 || f.Orders != f.Accepted+4 {
		t.Errorf("%+v", f)
	}
}

// TestJudge: what the audit finds comes first, then what is promised besides.
func TestJudge(t *testing.T) {
	t.Parallel()
	ok, lost := &audit.Report{Verdict: audit.OK}, &audit.Report{Verdict: audit.Inconsistent, LostOrders: 1}
	many := int64(9)
	for name, tt := range map[string]struct {
		fault   fault
		result  report.Fault
		verdict string
		problem string
	}{
		"ok":                      {fault{}, report.Fault{Times: 1, Audit: ok, Twice: 5, DBConnectionsMax: &many, DBConns: 8}, "ok", ""},
		"lost":                    {fault{}, report.Fault{Times: 1, Audit: lost, Unanswered: 1}, "inconsistent", "1 orders have no answer"},
		"no answer":               {fault{}, report.Fault{Times: 1, Audit: ok, Unanswered: 2}, "missed", "2 orders have no answer"},
		"no answer from the dead": {fault{ends: true}, report.Fault{Times: 1, Audit: ok, Unanswered: 2}, "ok", ""},
		"noticed":                 {fault{gentle: true}, report.Fault{Times: 1, Audit: ok, Twice: 3}, "missed", "3 orders needed more than one retry"},
		"too many connections":    {fault{gentle: true}, report.Fault{Times: 1, Audit: ok, DBConnectionsMax: &many, DBConns: 8}, "missed", "saw 9 connections"},
		"nothing happened":        {fault{}, report.Fault{Audit: ok}, "missed", "never inflicted"},
	} {
		trial := &trial{fault: tt.fault, result: tt.result}
		trial.judge()
		if trial.result.Verdict != tt.verdict || !strings.Contains(strings.Join(trial.result.Problems, "\n"), tt.problem) || (tt.problem == "") != (len(trial.result.Problems) == 0) {
			t.Errorf("%s: %s %q", name, trial.result.Verdict, trial.result.Problems)
		}
		if trial.result.Lost() != (tt.result.Audit == lost) {
			t.Errorf("%s: lost %v", name, trial.result.Lost())
		}
	}
}

func TestSuccessor(t *testing.T) {
	t.Parallel()
	dead := stage.Worker{Slot: 1, Pid: 10}
	for name, tt := range map[string]struct {
		workers []stage.Worker
		want    int
	}{
		"nobody yet":    {[]stage.Worker{{Slot: 0, Pid: 5, State: "serving"}}, 0},
		"old answer":    {[]stage.Worker{{Slot: 1, Pid: 10, State: "serving"}}, 0},
		"starting":      {[]stage.Worker{{Slot: 1, Pid: 11, State: "starting"}}, 0},
		"in its place":  {[]stage.Worker{{Slot: 0, Pid: 5, State: "serving"}, {Slot: 1, Pid: 11, State: "serving"}}, 11},
		"leaving still": {[]stage.Worker{{Slot: 1, Pid: 11, State: "serving"}, {Slot: 1, Pid: 10, State: "leaving"}}, 0},
	} {
		if next, ok := successor(tt.workers, dead); next.Pid != tt.want || ok != (tt.want != 0) {
			t.Errorf("%s: %+v, %v", name, next, ok)
		}
	}
}

// TestLimits: late replacements are named, unless the machine cannot be held to it.
func TestLimits(t *testing.T) {
	t.Parallel()
	boot := 50.0
	workers := []stage.Worker{{Slot: 1, Pid: 11, State: "serving", BootMS: &boot}}
	pending := func() []killed {
		return []killed{{stage.Worker{Slot: 1, Pid: 10}, time.Now().Add(-time.Second)}, {stage.Worker{Slot: 0, Pid: 9}, time.Now()}}
	}
	for lenient, problems := range map[float64]int{1: 1, 100: 0} {
		trial := &trial{Config: Config{Lenient: lenient}}
		if left := trial.settle(pending(), workers); len(left) != 1 || left[0].Pid != 9 {
			t.Errorf("left: %+v", left)
		}
		r := trial.result
		if len(r.Problems) != problems || *r.RecoveryMS < 1000 || *r.BootMS != boot {
			t.Errorf("lenient %v: %q, recovery %v, boot %v", lenient, r.Problems, *r.RecoveryMS, *r.BootMS)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := Validate(Names()); err != nil {
		t.Error(err)
	}
	if err := Validate([]string{"hang", "rain"}); err == nil || !strings.Contains(err.Error(), `"rain"; choose from kill-worker`) {
		t.Errorf("%v", err)
	}
	for _, name := range Names() {
		if !strings.Contains(About(), "  "+name+" ") {
			t.Errorf("%s is not described", name)
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	if medianOf([]int{1, 2, 9}) != 2 || medianOf([]int{1, 2, 4, 9}) != 3 {
		t.Error("wrong")
	}
}

// TestUntilGivesUpWithItsContext: nobody waits for ever.
func TestUntilGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := &watch{news: make(chan struct{})}
	if _, err := w.until(ctx, "never", func([]stage.Worker) bool { return true }); err == nil {
		t.Error("no error")
	}
}

// TestExplainLoad: a machine that became slower is told from a fault that held orders up.
func TestExplainLoad(t *testing.T) {
	t.Parallel()
	for after, want := range map[float64]string{700: "the machine had become slower", 1000: "the fault itself held orders up"} {
		f := &report.Fault{CapacityPerSecond: 1000, LoadPerSecond: 400, CapacityAfterPerSecond: &after}
		if got := explainLoad(f); !strings.Contains(got, want) || !strings.Contains(got, "40 %") {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if share := (&report.Fault{LoadPerSecond: 5}).LoadShare(); share != 1 {
		t.Errorf("share of an unknown capacity: %v", share)
	}
}
