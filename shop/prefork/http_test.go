package prefork

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections stay in the process, so that time can be that of a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// site is a Server with its clients.
type site struct {
	t       *testing.T
	server  *Server
	ln      *pipes
	release chan struct{} // closed: /hold answers
	began   time.Time
}

// inSite runs test with a Server that serves, in a synctest bubble.
func inSite(t *testing.T, test func(s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &site{t: t, ln: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}, release: make(chan struct{}), began: time.Now()}
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "ok") })
		mux.HandleFunc("/hold", func(http.ResponseWriter, *http.Request) { <-s.release })
		s.server = NewServer(&http.Server{Handler: mux})
		served := make(chan error, 1)
		go func() { served <- s.server.Serve(s.ln) }()
		synctest.Wait()
		test(s)
		_ = s.server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
}

func (s *site) shutdown(ctx context.Context) <-chan error {
	end := make(chan error, 1)
	go func() { end <- s.server.Shutdown(ctx) }()
	synctest.Wait()
	return end
}

func (s *site) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// keepAlive is a connection over which requests are sent one by one.
type keepAlive struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (s *site) connect() *keepAlive {
	ours, theirs := net.Pipe()
	s.t.Cleanup(func() { _ = ours.Close() })
	s.ln.conns <- theirs
	synctest.Wait()
	return &keepAlive{ours, s.t, bufio.NewReader(ours)}
}

func (c *keepAlive) send(path string) {
	c.t.Helper()
	if _, err := io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
		c.t.Fatalf("request refused: %v", err)
	}
	synctest.Wait()
}

// expect reads one answer, and whether the server says that it will close the connection.
func (c *keepAlive) expect(closing bool) {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	synctest.Wait()
	if res.StatusCode != http.StatusOK || res.Close != closing {
		c.t.Errorf("status %s, closing %v, want closing %v", res.Status, res.Close, closing)
	}
	if closing {
		c.expectEnd()
	}
}

func (c *keepAlive) expectEnd() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Nanosecond))
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		c.t.Errorf("read: %v, want the end", err)
	}
}

func TestServerAnswersWhoeverAsksWhileItShutsDown(t *testing.T) {
	t.Parallel()
	inSite(t, func(s *site) {
		idle, fresh, busy := s.connect(), s.connect(), s.connect()
		idle.send("/")
		idle.expect(false)
		busy.send("/hold")
		end := s.shutdown(s.t.Context())
		s.pass(IdleGrace - 1)
		idle.send("/")
		idle.expect(true)
		s.pass(time.Minute)
		select {
		case err := <-end:
			t.Fatalf("shut down while a request is in flight: %v", err)
		default:
		}
		fresh.send("/")
		fresh.expect(true)
		close(s.release)
		busy.expect(false) // when this request came, nobody knew of the end
		s.pass(IdleGrace - 1)
		busy.send("/") // so its client may send another one
		busy.expect(true)
		if err := <-end; err != nil {
			t.Error(err)
		}
	})
}

// Silent connections are given up after their grace. For those that were only opened http.Server waits 5 s.
func TestServerDoesNotWaitForSilentConnections(t *testing.T) {
	t.Parallel()
	for name, grace := range map[string]time.Duration{"used": IdleGrace, "new": NewGrace} {
		inSite(t, func(s *site) {
			conn := s.connect()
			if name == "used" {
				conn.send("/")
				conn.expect(false)
			}
			if err := <-s.shutdown(s.t.Context()); err != nil {
				t.Error(err)
			}
			// The last step of http.Server.Shutdown polls in milliseconds.
			if took := time.Since(s.began); took < grace || took > grace+20*time.Millisecond {
				t.Errorf("%s: took %v", name, took)
			}
			conn.expectEnd()
		})
	}
}

func TestServerWithNoConnectionsEndsAtOnce(t *testing.T) {
	t.Parallel()
	inSite(t, func(s *site) {
		if err := <-s.shutdown(s.t.Context()); err != nil || time.Since(s.began) != 0 {
			t.Errorf("err = %v after %v", err, time.Since(s.began))
		}
	})
}

func TestServerShutdownEndsWithItsContext(t *testing.T) {
	t.Parallel()
	inSite(t, func(s *site) {
		s.connect().send("/hold")
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		defer cancel()
		if err := <-s.shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(s.began) != time.Second {
			t.Errorf("err = %v after %v", err, time.Since(s.began))
		}
		close(s.release)
	})
}

func TestServerReportsThatItCannotServe(t *testing.T) {
	t.Parallel()
	ln := &pipes{closed: make(chan struct{})}
	_ = ln.Close()
	if err := NewServer(&http.Server{}).Serve(ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("err = %v", err)
	}
}

// TestLongestActive: what hangs is told from what waits for its next request.
func TestLongestActive(t *testing.T) {
	t.Parallel()
	inSite(t, func(s *site) {
		idle, busy, later := s.connect(), s.connect(), s.connect()
		idle.send("/")
		idle.expect(false)
		s.pass(time.Minute)
		if got := s.server.LongestActive(); got != 0 {
			t.Errorf("%v, but nothing is in flight", got)
		}
		busy.send("/hold")
		s.pass(time.Second)
		later.send("/hold")
		s.pass(time.Second)
		if got := s.server.LongestActive(); got < 2*time.Second || got > 2*time.Second+time.Millisecond {
			t.Errorf("%v, want 2s", got)
		}
		close(s.release)
		busy.expect(false)
		later.expect(false)
		if got := s.server.LongestActive(); got != 0 {
			t.Errorf("%v, but all is answered", got)
		}
	})
}

// TestShed: a connection that is given away is closed with its next answer, and the others stay.
func TestShed(t *testing.T) {
	t.Parallel()
	inSite(t, func(s *site) {
		given, busy := s.connect(), s.connect()
		given.send("/")
		given.expect(false)
		busy.send("/hold")
		s.server.Shed(1)
		stays := s.connect()
		s.pass(time.Minute)
		given.send("/")
		given.expect(true)
		close(s.release)
		busy.expect(false) // its head was decided before
		busy.send("/")
		busy.expect(true)
		s.server.Shed(0)
		stays.send("/")
		stays.expect(false)
	})
}

func TestBalance(t *testing.T) {
	t.Parallel()
	w := &Worker{balanced: 2}
	var given []float64
	w.GiveAway(func(share float64) { given = append(given, share) })
	roster := func(wanted int, states ...State) Roster {
		r := Roster{Wanted: wanted}
		for _, state := range states {
			r.Workers = append(r.Workers, Member{State: state})
		}
		return r
	}
	for _, r := range []Roster{
		roster(2, Serving), roster(2, Serving, Serving), // a crash and its end
		roster(4, Serving, Serving, Serving), roster(4, Serving, Serving, Serving, Serving), roster(4, Serving, Serving, Serving, Serving),
		roster(3, Serving, Serving, Serving, Leaving), roster(4, Serving, Serving, Serving, Serving),
	} {
		w.balance(r)
	}
	if want := []float64{0.5, 0.25}; !slices.Equal(given, want) {
		t.Errorf("gave away %v, want %v", given, want)
	}
}
