package prefork

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

const longOrder = "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"

// holding serves with or without IgnoreDisconnects over real sockets, sends request, and while its handler waits calls
// meanwhile with the client's connection. release lets the handler answer.
func holding(t *testing.T, ignore bool, meanwhile func(conn net.Conn, entered <-chan *http.Request, release func())) {
	t.Helper()
	entered, answer := make(chan *http.Request), make(chan struct{})
	server := NewServer(&http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Errorf("body: %v", err)
		}
		entered <- req
		<-answer
		_, _ = rw.Write(body)
	})})
	if ignore {
		server.IgnoreDisconnects()
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	meanwhile(conn, entered, func() { answer <- struct{}{} })
	_ = conn.Close()
	_ = server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
}

func say(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func wantBody(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || string(body) != want || res.StatusCode != http.StatusOK {
		t.Fatalf("answer %d %q, %v", res.StatusCode, body, err)
	}
}

// reads reports whether net/http has a goroutine that waits for a byte of a connection whose handler runs.
func reads(t *testing.T) bool {
	t.Helper()
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Contains(strings.ToLower(all.String()), "backgroundread") // also one that has not run yet
}

// TestIgnoreDisconnects would fail if a later net/http looked for the client in another way: then the option is worth
// nothing any more.
func TestIgnoreDisconnects(t *testing.T) {
	t.Run("watched", func(t *testing.T) {
		holding(t, false, func(conn net.Conn, entered <-chan *http.Request, release func()) {
			say(t, conn, longOrder)
			req := <-entered
			eventually(t, "a goroutine that reads", func() bool { return reads(t) })
			_ = conn.Close()
			<-req.Context().Done()
			release()
		})
	})
	t.Run("ignored", func(t *testing.T) {
		holding(t, true, func(conn net.Conn, entered <-chan *http.Request, release func()) {
			say(t, conn, longOrder)
			req := <-entered
			eventually(t, "no goroutine that reads", func() bool { return !reads(t) })
			_ = conn.Close()
			release()
			<-req.Context().Done() // ends with the handler, at the latest
		})
	})
}

// TestIgnoredConnectionsServeOn keeps one connection for requests of all kinds, as if clients were watched.
func TestIgnoredConnectionsServeOn(t *testing.T) {
	holding(t, true, func(conn net.Conn, entered <-chan *http.Request, release func()) {
		answers := bufio.NewReader(conn)
		// Pipelined: the second is there before the first is answered.
		say(t, conn, longOrder+longOrder)
		for range 2 {
			<-entered
			release()
			wantBody(t, answers, "body")
		}
		// A body that comes byte by byte, and one whose length is not known.
		head, body, _ := strings.Cut(longOrder, "body")
		say(t, conn, head)
		for range 3 {
			say(t, conn, "x")
		}
		say(t, conn, body+"y")
		<-entered
		release()
		wantBody(t, answers, "xxxy")
		say(t, conn, "POST /hold HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		say(t, conn, "1\r\nb\r\n0\r\n\r\n")
		<-entered
		release()
		wantBody(t, answers, "ab")
	})
}
