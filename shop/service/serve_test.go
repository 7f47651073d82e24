package service

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/httpapi"
	"example.com/flashsale/shop/order"
)

// slow is a model whose orders wait until they are let go.
type slow struct {
	begun, release chan struct{}
}

func newSlow() *slow { return &slow{begun: make(chan struct{}, 64), release: make(chan struct{})} }

func (s *slow) Place(context.Context, order.Request) (order.Receipt, error) {
	s.begun <- struct{}{}
	<-s.release
	return order.Receipt{OrderID: 5, Status: order.StatusCreated}, nil
}

// listener tells when it was closed, and which clients it accepted.
type listener struct {
	net.Listener
	closed   chan struct{}
	once     sync.Once
	accepted chan string
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- c.RemoteAddr().String()
	}
	return c, err
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { close(l.closed) })
	return err
}

// running is a Serve under way.
type running struct {
	ln    *listener
	stop  context.CancelFunc
	ended chan error
	url   string
}

func serve(t *testing.T, cfg *Config, b *Backend, topology Topology, placer httpapi.Placer) *running {
	t.Helper()
	inner, err := cfg.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{
		ln:   &listener{Listener: inner, closed: make(chan struct{}), accepted: make(chan string, 64)},
		stop: stop, ended: make(chan error, 1), url: "http://" + inner.Addr().String(),
	}
	go func() { r.ended <- cfg.Serve(ctx, r.ln, b, topology, placer) }()
	t.Cleanup(func() {
		stop()
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

// result waits for what Serve returns.
func (r *running) result(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		t.Fatal("Serve does not return")
		return nil
	}
}

// wantClean checks that Serve ends without an error.
func (r *running) wantClean(t *testing.T) {
	t.Helper()
	if err := r.result(t); err != nil {
		t.Errorf("Serve() = %v", err)
	}
}

// reply is what a client got.
type reply struct {
	status int
	body   string
	err    error
}

func send(ctx context.Context, method, url, body string) reply {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, string(got), err}
}

func buy(ctx context.Context, url string) <-chan reply {
	answer := make(chan reply, 1)
	go func() {
		answer <- send(ctx, http.MethodPost, url+"/orders", `{"user_id":1,"product_id":1,"quantity":1}`)
	}()
	return answer
}

// connect opens a connection and waits until it was accepted.
func (r *running) connect(t *testing.T) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for client := range r.ln.accepted {
		if client == conn.LocalAddr().String() {
			break
		}
	}
	return conn
}

// TestServeDrains: it stops accepting, tells /ready, finishes what is in
// flight, and returns only then.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.None)
	b := open(t, cfg)
	model := newSlow()
	r := serve(t, cfg, b, Topology{Workers: 1, DBConns: 1}, model)
	if got := send(t.Context(), http.MethodGet, r.url+"/ready", ""); got.status != http.StatusOK {
		t.Fatalf("/ready before: %+v", got)
	}
	const buyers = 3
	var answers []<-chan reply
	for range buyers {
		answers = append(answers, buy(t.Context(), r.url))
		<-model.begun
	}
	// Connections that are open, and on which nothing was asked yet.
	probe, early := r.connect(t), r.connect(t)

	r.stop()
	<-r.ln.closed
	// A process that another test starts has the socket too, until it is executed.
	for end := time.Now().Add(patience); ; {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.ln.Addr().String())
		if err != nil {
			break
		}
		_ = conn.Close()
		if time.Now().After(end) {
			t.Fatal("it still accepts")
		}
	}
	if _, err := io.WriteString(probe, "GET /ready HTTP/1.1\r\nHost: stage\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	ready, err := http.ReadResponse(bufio.NewReader(probe), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = ready.Body.Close()
	if ready.StatusCode != http.StatusServiceUnavailable || ready.Header.Get("Retry-After") == "" {
		t.Errorf("/ready while draining: %d %v, want 503 and Retry-After", ready.StatusCode, ready.Header)
	}
	// Its client has connected and may count on an answer.
	if _, err := io.WriteString(early, "POST /orders HTTP/1.1\r\nHost: stage\r\nContent-Type: application/json\r\nContent-Length: 41\r\n\r\n"+
		`{"user_id":1,"product_id":1,"quantity":1}`); err != nil {
		t.Fatal(err)
	}
	<-model.begun
	select {
	case err := <-r.ended:
		t.Errorf("Serve returned %v with orders in flight", err)
	default:
	}
	close(model.release)
	for i, answer := range answers {
		if got := <-answer; got.status != http.StatusCreated || !strings.Contains(got.body, `"order_id":5`) {
			t.Errorf("order %d: %+v", i, got)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(early), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated || !resp.Close {
		t.Errorf("the order that came while draining: %d, close %v; want 201 and close", resp.StatusCode, resp.Close)
	}
	r.wantClean(t)
}

// TestServeGivesUp: an order that takes too long does not hold the process for
// ever, and that is an error.
func TestServeGivesUp(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.None)
	cfg.ShutdownTimeout = 50 * time.Millisecond
	b := open(t, cfg)
	model := newSlow()
	defer close(model.release)
	r := serve(t, cfg, b, Topology{}, model)
	answer := buy(t.Context(), r.url)
	<-model.begun
	r.stop()
	err := r.result(t)
	var out bytes.Buffer
	if code := ExitCode(&out, "stage0-test", err); code != 1 || !strings.Contains(out.String(), "stopped with requests in flight") {
		t.Errorf("exit code %d, %s", code, out.String())
	}
	if got := <-answer; got.err == nil {
		t.Errorf("the buyer got %+v", got)
	}
}

// TestServeAtRest: idle keep-alive connections do not delay the end.
func TestServeAtRest(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.None)
	b := open(t, cfg)
	r := serve(t, cfg, b, Topology{}, newSlow())
	for range 3 {
		if got := send(t.Context(), http.MethodGet, r.url+"/health", ""); got.status != http.StatusOK {
			t.Fatalf("%+v", got)
		}
	}
	r.stop()
	r.wantClean(t)
}

func TestServeLosesItsListener(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.None)
	r := serve(t, cfg, open(t, cfg), Topology{}, newSlow())
	if got := send(t.Context(), http.MethodGet, r.url+"/ready", ""); got.status != http.StatusOK {
		t.Fatalf("%+v", got)
	}
	if err := r.ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.result(t); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve() = %v", err)
	}
}

// TestServeNoOp: the made-up receipts do not come from the model.
func TestServeNoOp(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.NoOp)
	model := newSlow()
	defer close(model.release)
	served := 0
	r := serve(t, cfg, open(t, cfg), Topology{Served: func() { served++ }}, model)
	if got := <-buy(t.Context(), r.url); got.status != http.StatusCreated {
		t.Errorf("%+v", got)
	}
	if len(model.begun) != 0 {
		t.Error("the model was asked")
	}
	r.stop()
	r.wantClean(t)
	if served != 1 {
		t.Errorf("served %d, want 1", served)
	}
}

// TestServeLimitsHeaders: a client cannot send headers without end.
func TestServeLimitsHeaders(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.None)
	r := serve(t, cfg, open(t, cfg), Topology{}, newSlow())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/health", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 2*maxHeader))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
	r.stop()
	r.wantClean(t)
}

// TestInfo: what /health says, and when a guard is expected to hold.
func TestInfo(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		guard    string
		topology Topology
		want     string
	}{
		"one at a time":                   {guard.None, Topology{Workers: 1, DBConns: 1}, guard.Safe},
		"many":                            {guard.None, Topology{Workers: 64, DBConns: 8}, guard.Broken},
		"many, but one connection":        {guard.None, Topology{Workers: 64, DBConns: 1}, guard.Safe},
		"processes, one at a time":        {guard.None, Topology{MasterPID: 1, Processes: 4, Workers: 1, DBConns: 4}, guard.Broken},
		"one process with a master":       {guard.None, Topology{MasterPID: 1, Processes: 1, Workers: 1, DBConns: 1}, guard.Safe},
		"mutex":                           {guard.Mutex, Topology{Workers: 64, DBConns: 8}, guard.Safe},
		"mutex in processes":              {guard.Mutex, Topology{MasterPID: 1, Processes: 4, Workers: 1, DBConns: 4}, guard.Broken},
		"redlock in processes":            {guard.Redlock, Topology{MasterPID: 1, Processes: 4, Workers: 64, DBConns: 8}, guard.Safe},
		"more processes than connections": {guard.Conditional, Topology{MasterPID: 1, Processes: 4, Workers: 64, DBConns: 2}, guard.Safe},
		"noop":                            {guard.NoOp, Topology{Workers: 1, DBConns: 1}, guard.Broken},
		"nothing is known":                {guard.None, Topology{}, guard.Safe},
	} {
		cfg := config("", tt.guard)
		cfg.UserLatency = 1500 * time.Microsecond
		tt.topology.masterVersion = "1.2"
		got := cfg.info(tt.topology)
		if got.Expected != tt.want {
			t.Errorf("%s: %s, want %s", name, got.Expected, tt.want)
		}
		want := httpapi.Info{
			Stage: "stage0-test", Guard: tt.guard, Expected: tt.want, PID: os.Getpid(), MasterPID: os.Getpid(), Processes: 1,
			Version: Version(), MasterVersion: Version(),
			Workers: max(tt.topology.Workers, 1), DBConns: tt.topology.DBConns, QueueCap: 64, UserLatencyMS: 1.5,
		}
		if tt.topology.MasterPID != 0 {
			want.MasterVersion = "1.2"
			want.MasterPID, want.Processes = tt.topology.MasterPID, tt.topology.Processes
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestHealthOverHTTP: the topology arrives at the client.
func TestHealthOverHTTP(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.Mutex)
	r := serve(t, cfg, open(t, cfg), Topology{MasterPID: 4711, Processes: 4, Workers: 2, DBConns: 8}, newSlow())
	var health httpapi.Info
	if err := json.Unmarshal([]byte(send(t.Context(), http.MethodGet, r.url+"/health", "").body), &health); err != nil {
		t.Fatal(err)
	}
	if health.MasterPID != 4711 || health.Processes != 4 || health.Workers != 2 || health.DBConns != 8 || health.Expected != guard.Broken {
		t.Errorf("%+v", health)
	}
	r.stop()
	r.wantClean(t)
}

// TestAskReady is --check: 0 from a stage that is ready, 1 from all else.
func TestAskReady(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.None)
	b := open(t, cfg)
	r := serve(t, cfg, b, Topology{}, newSlow())
	addr := r.ln.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(addr string, timeout time.Duration) int {
		return (&Config{Addr: addr, RequestTimeout: timeout, stage: "stage0-test"}).AskReady(t.Context())
	}
	for _, addr := range []string{addr, ":" + port, "0.0.0.0:" + port, "[::]:" + port, "localhost:" + port} {
		if code := ask(addr, patience); code != 0 {
			t.Errorf("%s: exit code %d, want 0", addr, code)
		}
	}
	for _, addr := range []string{closedPort(t), "nonsense", "127.0.0.1", ""} {
		if code := ask(addr, patience); code != 1 {
			t.Errorf("%q: exit code %d, want 1", addr, code)
		}
	}
	b.Store.Close() // the database does not answer any more
	if code := ask(addr, patience); code != 1 {
		t.Errorf("without a database: exit code %d, want 1", code)
	}
	r.stop()
	r.wantClean(t)
}

// TestAskReadyDoesNotWait: something listens but never answers.
func TestAskReadyDoesNotWait(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	start := time.Now()
	code := (&Config{Addr: ln.Addr().String(), RequestTimeout: 50 * time.Millisecond}).AskReady(t.Context())
	if took := time.Since(start); code != 1 || took > patience {
		t.Errorf("exit code %d after %v, want 1 in time", code, took)
	}
}

// TestServeLogs: what an operator sees of a start and a stop.
func TestServeLogs(t *testing.T) {
	t.Parallel()
	cfg := config(newDatabase(t), guard.None)
	b := open(t, cfg)
	var out bytes.Buffer
	b.Log = slog.New(slog.NewTextHandler(&out, nil))
	r := serve(t, cfg, b, Topology{Workers: 8, DBConns: 8}, newSlow())
	if got := send(t.Context(), http.MethodGet, r.url+"/health", ""); got.status != http.StatusOK {
		t.Fatalf("%+v", got)
	}
	r.stop()
	r.wantClean(t)
	for _, want := range []string{"msg=serving", "addr=" + r.ln.Addr().String(), "guard=none", "expected=broken", "finishing what is in flight", "msg=stopped"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, out.String())
		}
	}
}
