package attack

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// aMoment is long enough for a first attempt, and shorter than the back-off after one
// that failed: a user makes exactly one attempt in it.
const aMoment = maxBackOff / 2

// The requests carry an idempotency key, and a client may think that this makes it
// safe to send them again. Ours must not: a retry would be a request that nobody counts.
func TestOneAttemptIsOneSend(t *testing.T) {
	tests := []struct {
		name     string
		answered int // requests of a connection that are answered before one is not
		hangUp   func(net.Conn)
		wantCode string
	}{
		{"closed on the first request", 0, func(net.Conn) {}, CodeEOF},
		{"closed on a later request", 3, func(net.Conn) {}, CodeEOF},
		{"reset on the first request", 0, reset, CodeReset},
		{"reset on a later request", 3, reset, CodeReset},
		{"closed within the answer", 2, func(wire net.Conn) { _, _ = io.WriteString(wire, receipt[:len(receipt)-5]) }, CodeEOF},
		{"closed within the head", 2, func(wire net.Conn) { _, _ = io.WriteString(wire, receipt[:20]) }, CodeEOF},
		{"no HTTP", 2, func(wire net.Conn) { _, _ = io.WriteString(wire, "SSH-2.0-OpenSSH_9.6\r\n\r\n") }, CodeMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			server := serveWire(t, func(s *wireServer, wire net.Conn, n int) {
				reader := bufio.NewReader(wire)
				for i := 0; ; i++ {
					if _, err := readRequest(reader); err != nil {
						return
					}
					requests.Add(1)
					if i == tt.answered {
						_ = s.listener.Close() // what else is tried is refused
						tt.hangUp(wire)
						return
					}
					_, _ = io.WriteString(wire, receipt)
				}
			})
			got := outcomes(t, oneUser(server.url, 5*maxBackOff))
			if n := int(requests.Load()); n != tt.answered+1 || len(got) < n {
				t.Fatalf("%d attempts, %d requests", len(got), n)
			}
			for _, o := range got[:tt.answered] {
				if o.Class != Accepted || o.OrderID != 17 || o.TotalCents != 1999 || o.Status != 201 {
					t.Errorf("got %+v", o)
				}
			}
			if o := got[tt.answered]; o.Class != Unknown || o.Code != tt.wantCode || o.Status != 0 || o.OrderID != 0 {
				t.Errorf("got %+v, want unknown with code %s", o, tt.wantCode)
			}
			for _, o := range got[tt.answered+1:] {
				if o.Class != Failed || o.Code != CodeConnectionRefused {
					t.Errorf("got %+v", o)
				}
			}
		})
	}
}

// reset makes the connection end with a reset instead of an orderly close.
func reset(wire net.Conn) { _ = wire.(*net.TCPConn).SetLinger(0) }

func TestReconnectsAfterALoss(t *testing.T) {
	t.Parallel()
	server := serveWire(t, func(_ *wireServer, wire net.Conn, n int) {
		reader := bufio.NewReader(wire)
		for {
			if _, err := readRequest(reader); err != nil || n == 1 {
				return
			}
			_, _ = io.WriteString(wire, receipt)
		}
	})
	got := outcomes(t, oneUser(server.url, 10*maxBackOff))
	if len(got) < 2 || got[0].Class != Unknown {
		t.Fatalf("got %+v", got)
	}
	for _, o := range got[1:] {
		if o.Class != Accepted {
			t.Errorf("got %+v", o)
		}
	}
	if pause := got[1].SentAt - got[0].EndedAt(); pause < maxBackOff {
		t.Errorf("came back after %v", pause)
	}
}

func TestRefusedWhileRunning(t *testing.T) {
	t.Parallel()
	server := serveWire(t, func(s *wireServer, wire net.Conn, _ int) {
		_, _ = readRequest(bufio.NewReader(wire))
		_ = s.listener.Close()
	})
	got := outcomes(t, oneUser(server.url, 10*maxBackOff))
	if len(got) < 2 || got[0].Class != Unknown || got[0].Code != CodeEOF {
		t.Fatalf("got %+v", got)
	}
	for _, o := range got[1:] {
		if o.Class != Failed || o.Code != CodeConnectionRefused || o.Status != 0 {
			t.Errorf("got %+v", o)
		}
	}
}

func TestRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	result, err := Run(t.Context(), oneUser("http://"+listener.Addr().String(), time.Second))
	if result != nil || err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, %v", result, err)
	}
}

// A service that closes the connection after its answer lost nothing.
func TestConnectionCloseIsNoLoss(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	for name, answer := range map[string]string{
		"announced":  strings.Replace(receipt, "\r\n", "\r\nConnection: close\r\n", 1),
		"no length":  "HTTP/1.0 201 Created\r\nContent-Type: application/json\r\n\r\n" + `{"order_id":17,"total_cents":1999}`,
		"and excess": receipt + receipt,
	} {
		connections.Store(0)
		server := serveWire(t, func(_ *wireServer, wire net.Conn, _ int) {
			connections.Add(1)
			if _, err := readRequest(bufio.NewReader(wire)); err == nil {
				_, _ = io.WriteString(wire, answer)
			}
		})
		got := outcomes(t, oneUser(server.url, 5*maxBackOff))
		for _, o := range got {
			if o.Class != Accepted || o.OrderID != 17 {
				t.Errorf("%s: got %+v", name, o)
			}
		}
		// The last connection may have been opened or not when the time was up.
		if n := int(connections.Load()); len(got) < 2 || n < len(got) {
			t.Errorf("%s: %d attempts on %d connections", name, len(got), n)
		}
	}
}

func TestTooLargeAnswer(t *testing.T) {
	t.Parallel()
	server := serveWire(t, func(_ *wireServer, wire net.Conn, _ int) {
		if _, err := readRequest(bufio.NewReader(wire)); err != nil {
			return
		}
		_, _ = io.WriteString(wire, "HTTP/1.1 201 Created\r\nContent-Length: 100000000\r\n\r\n")
		for chunk := make([]byte, 4096); ; {
			if _, err := wire.Write(chunk); err != nil {
				return
			}
		}
	})
	got := outcomes(t, oneUser(server.url, aMoment))
	if len(got) != 1 || got[0].Class != Unknown || got[0].Code != CodeTooLarge {
		t.Errorf("got %+v", got)
	}
}

// A request that does not fit into the socket's buffer is finished the usual way.
func TestLargeRequest(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	var received atomic.Int64
	server := serveWire(t, func(_ *wireServer, wire net.Conn, _ int) {
		n, _ := io.CopyN(io.Discard, wire, size)
		received.Store(n)
		_, _ = io.WriteString(wire, receipt)
	})
	c := newConn(newDialer(server.listener.Addr().String(), ""), 5*time.Second)
	if err := c.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.begin(make([]byte, size), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := c.await(); err != nil {
		t.Fatal(err)
	}
	if head, err := bufio.NewReader(c).Peek(len(receipt)); err != nil || string(head) != receipt || received.Load() != size {
		t.Errorf("got %q after %d bytes, %v", head, received.Load(), err)
	}
}

func TestClientTimeout(t *testing.T) {
	for name, dial := range map[string]func(t *testing.T) dialFunc{
		"pipe": func(t *testing.T) dialFunc { return pipe(func(far net.Conn) { go silent(far) }) },
		"no connection": func(t *testing.T) dialFunc {
			var once sync.Once
			return func(ctx context.Context) (wire net.Conn, err error) {
				once.Do(func() { wire, _ = net.Pipe() }) // the first user connects, and loses it below
				if wire == nil {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return wire, wire.Close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := oneUser("http://target", time.Second).withDefaults()
				result, err := newCrowd(cfg, target{host: "target", path: "/orders"}, dial(t)).run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for o := range result.Outcomes() {
					checkTimedOut(t, o)
				}
				if result.Len() == 0 {
					t.Error("no attempt was made")
				}
			})
		})
	}
}

// checkTimedOut checks the attempts of TestClientTimeout: the one that was sent may
// have been placed, the others were not.
func checkTimedOut(t *testing.T, o Outcome) {
	t.Helper()
	const atMost = DefaultClientTimeout + DefaultClientTimeout/deadlineSlack
	inTime := o.Latency >= DefaultClientTimeout && o.Latency <= atMost
	switch o.Code {
	case CodeClientTimeout:
		if o.Class != Unknown || !inTime {
			t.Errorf("got %+v", o)
		}
	case CodeConnectFailed:
		if o.Class != Failed || !inTime {
			t.Errorf("got %+v", o)
		}
	case CodeNotSent:
		if o.Class != Failed || o.Latency != 0 {
			t.Errorf("got %+v", o)
		}
	default:
		t.Errorf("got %+v", o)
	}
}

func TestClientTimeoutOnARealConnection(t *testing.T) {
	t.Parallel()
	server := serveWire(t, func(_ *wireServer, wire net.Conn, _ int) { silent(wire) })
	cfg := oneUser(server.url, aMoment)
	cfg.ClientTimeout = 2 * aMoment
	got := outcomes(t, cfg)
	if len(got) != 1 || got[0].Class != Unknown || got[0].Code != CodeClientTimeout || got[0].Latency < cfg.ClientTimeout {
		t.Errorf("got %+v", got)
	}
}

func TestNoRequestBeforeAllConnectionsAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const users = 5
		var opened, early atomic.Int64
		last := make(chan struct{})
		connect := pipe(func(far net.Conn) {
			go func() {
				defer func() { _ = far.Close() }()
				if _, err := readRequest(bufio.NewReader(far)); err == nil && opened.Load() < users {
					early.Add(1)
				}
			}()
		})
		dial := func(ctx context.Context) (net.Conn, error) {
			if opened.Load() == users-1 {
				<-last
			}
			opened.Add(1)
			return connect(ctx)
		}
		cfg := oneUser("http://target", aMoment).withDefaults()
		cfg.Users = users
		done := make(chan *Result)
		go func() {
			result, err := newCrowd(cfg, target{host: "target", path: "/orders"}, serially(dial)).run(t.Context())
			if err != nil {
				t.Error(err)
			}
			done <- result
		}()
		synctest.Wait() // all that can happen has happened
		if n := opened.Load(); n != users-1 {
			t.Errorf("%d connections are open", n)
		}
		close(last)
		if result := <-done; result.Len() < users || early.Load() != 0 {
			t.Errorf("%d attempts, %d of them early", result.Len(), early.Load())
		}
	})
}

// serially lets one caller dial at a time.
func serially(dial dialFunc) dialFunc {
	turn := make(chan struct{}, 1)
	return func(ctx context.Context) (net.Conn, error) {
		turn <- struct{}{}
		defer func() { <-turn }()
		return dial(ctx)
	}
}

func TestOpeningFails(t *testing.T) {
	var opened atomic.Int64
	dial := func(context.Context) (net.Conn, error) {
		if opened.Add(1) == 3 {
			return nil, errNoDial
		}
		near, _ := net.Pipe()
		return near, nil
	}
	cfg := oneUser("http://target", time.Second).withDefaults()
	cfg.Users = 10
	result, err := newCrowd(cfg, target{}, dial).run(t.Context())
	if result != nil || !errors.Is(err, errNoDial) || !strings.Contains(err.Error(), "of 10 to http://target") {
		t.Errorf("got %v, %v", result, err)
	}
}

func TestHostNameIsResolvedOnce(t *testing.T) {
	t.Parallel()
	server := serveWire(t, func(_ *wireServer, wire net.Conn, _ int) {
		reader := bufio.NewReader(wire)
		for {
			req, err := readRequest(reader)
			if err != nil {
				return
			}
			if !strings.HasPrefix(req.Host, "localhost:") {
				t.Errorf("Host is %q", req.Host)
			}
			_, _ = io.WriteString(wire, receipt)
		}
	})
	_, port, err := net.SplitHostPort(server.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cfg := oneUser("http://localhost:"+port, aMoment)
	cfg.Users = 4
	for _, o := range outcomes(t, cfg) {
		if o.Class != Accepted {
			t.Errorf("got %+v", o)
		}
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		wire, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = wire.Close() }()
		if _, err := readRequest(bufio.NewReader(wire)); err == nil {
			_, _ = io.WriteString(wire, receipt)
		}
	})
	got := outcomes(t, oneUser("http://"+listener.Addr().String(), aMoment))
	_ = listener.Close()
	serving.Wait()
	if len(got) == 0 || got[0].Class != Accepted {
		t.Errorf("got %+v", got)
	}
}
