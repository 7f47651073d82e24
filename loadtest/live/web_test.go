package live

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/loadtest/attack"
)

func TestParseAddr(t *testing.T) {
	for addr, want := range map[string]string{
		"9090": "127.0.0.1:9090", ":9090": "127.0.0.1:9090", ":0": "127.0.0.1:0", "127.0.0.1:1": "127.0.0.1:1",
		"0.0.0.0:9090": "0.0.0.0:9090", "[::1]:9090": "[::1]:9090", "host:80": "host:80",
	} {
		if got, err := ParseAddr(addr); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", addr, got, err, want)
		}
	}
	for _, addr := range []string{"", ":", "host", "host:", "host:name", "1.2.3.4", ":99999", "a:b:c", "::1"} {
		if got, err := ParseAddr(addr); err == nil {
			t.Errorf("%q: %q", addr, got)
		}
	}
}

func serve(t *testing.T, b *Board) *Server {
	t.Helper()
	server, err := Serve(t.Context(), "127.0.0.1:0", b.State)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// reply is a response. Its body is closed when the test ends.
type reply struct {
	status int
	header http.Header
	body   io.Reader
}

func get(t *testing.T, url string) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return reply{response.StatusCode, response.Header, response.Body}
}

// next reads one event.
func next(t *testing.T, from *bufio.Scanner) (State, bool) {
	t.Helper()
	for from.Scan() {
		text, ok := strings.CutPrefix(from.Text(), "data: ")
		if !ok {
			if from.Text() != "" {
				t.Errorf("a line %q", from.Text())
			}
			continue
		}
		var state State
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			t.Fatal(err)
		}
		return state, true
	}
	return State{}, false
}

func TestEvents(t *testing.T) {
	b, _ := newTestBoard()
	server := serve(t, b)
	response := get(t, server.URL()+"events")
	if kind := response.header.Get("Content-Type"); response.status != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("%d, %s", response.status, kind)
	}
	from := bufio.NewScanner(response.body)
	if state, ok := next(t, from); !ok || state.Title != "compare" || state.Run != nil {
		t.Errorf("%v, %+v", ok, state)
	}
	sale(b, 100)
	b.Progress(attack.Progress{Elapsed: time.Second, Users: 1, Accepted: 107})
	for {
		state, ok := next(t, from)
		if !ok {
			t.Fatal("the stream ended")
		}
		if state.Run != nil && state.Run.Accepted == 107 {
			if state.Run.Stock.Oversold != 7 || state.Run.Dropped != nil || state.Run.Stock.Left != nil {
				t.Errorf("%+v", state.Run)
			}
			break
		}
	}
	b.Over("interrupted")
	go server.Close() // the cleanup waits for it
	for {
		state, ok := next(t, from)
		if !ok {
			t.Fatal("the stream ended before the viewer knew that it is over")
		}
		if state.Over {
			if state.Outcome != "interrupted" {
				t.Errorf("%+v", state)
			}
			break
		}
	}
	if _, ok := next(t, from); ok {
		t.Error("there was an event after the last one")
	}
}

func TestPage(t *testing.T) {
	b, _ := newTestBoard()
	server := serve(t, b)
	response := get(t, server.URL())
	text, err := io.ReadAll(response.body)
	if err != nil || !strings.Contains(string(text), "EventSource") || response.header.Get("Content-Security-Policy") != policy {
		t.Errorf("%v, %d bytes, %v", err, len(text), response.header)
	}
	for path, want := range map[string]int{"": http.StatusOK, "nothing": http.StatusNotFound, "events/x": http.StatusNotFound} {
		if response := get(t, server.URL()+path); response.status != want {
			t.Errorf("%q: %d", path, response.status)
		}
	}
}

func TestViewersAreBounded(t *testing.T) {
	b, _ := newTestBoard()
	server := serve(t, b)
	for range maxViewers {
		if response := get(t, server.URL()+"events"); response.status != http.StatusOK {
			t.Fatalf("%d", response.status)
		}
	}
	response := get(t, server.URL()+"events")
	if response.status != http.StatusServiceUnavailable || response.header.Get("Retry-After") == "" {
		t.Errorf("one more: %d", response.status)
	}
}

// TestSlowViewer: one that reads nothing must hold up neither another viewer nor the end, and must lose its place.
func TestSlowViewer(t *testing.T) {
	const size = 8 << 20 // more than the sockets' buffers hold
	b, _ := newTestBoard()
	state := b.State()
	state.Headline = strings.Repeat("x", size)
	server, err := Serve(t.Context(), "127.0.0.1:0", func() State { return state })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	slow := connect(t, server)
	if _, err := io.WriteString(slow, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(10 * time.Second); len(server.viewers) < 1; {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the slow viewer has no place")
		}
	}
	from := bufio.NewScanner(get(t, server.URL()+"events").body)
	from.Buffer(nil, 2*size)
	start, states := time.Now(), 0
	for states < 2 || len(server.viewers) > 1 { // it goes on to read, or it would be a slow one itself
		if _, ok := next(t, from); !ok {
			t.Fatal("the stream of the other viewer ended")
		}
		if states++; time.Since(start) > sendTimeout+10*time.Second {
			t.Fatalf("after %v the slow viewer still has its place", time.Since(start))
		}
	}
	if _, ok := next(t, from); !ok {
		t.Error("the stream of the other viewer ended")
	}
	start = time.Now()
	server.Close()
	if took := time.Since(start); took > goodbyeTimeout+2*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func connect(t *testing.T, server *Server) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// On loopback only whoever asks for loopback gets an answer: a name from elsewhere may point there.
func TestOtherHostsAreRefused(t *testing.T) {
	b, _ := newTestBoard()
	server := serve(t, b)
	handler := server.server.Handler
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:9090": 200, "127.0.0.1": 200, "127.0.0.1:1": 200, "[::1]": 200, "[::1]:80": 200,
		"": 403, "evil.example": 403, "evil.example:9090": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example": 403, "192.0.2.1:80": 403, "[2001:db8::1]": 403,
	} {
		for _, path := range []string{"/", "/events"} {
			if path == "/events" && want == http.StatusOK {
				continue // it does not end
			}
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			request.Host = host
			answer := httptest.NewRecorder()
			if handler.ServeHTTP(answer, request); answer.Code != want {
				t.Errorf("Host %q, %s: %d, want %d", host, path, answer.Code, want)
			}
		}
	}
	open := &Server{listener: wildcard{server.listener}}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	request.Host = "build.example"
	answer := httptest.NewRecorder()
	if open.ownHost(http.NotFoundHandler()).ServeHTTP(answer, request); answer.Code != http.StatusNotFound {
		t.Errorf("on all addresses: %d", answer.Code)
	}
}

// wildcard is a listener on all addresses.
type wildcard struct{ net.Listener }

func (wildcard) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: 9090} }

func TestAddressInUse(t *testing.T) {
	b, _ := newTestBoard()
	server := serve(t, b)
	if second, err := Serve(t.Context(), server.listener.Addr().String(), b.State); err == nil {
		second.Close()
		t.Error("two servers at one address")
	}
}
