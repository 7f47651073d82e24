package live

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
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

// TestSlowViewer: one that reads nothing must hold up neither the end nor another viewer.
func TestSlowViewer(t *testing.T) {
	b, _ := newTestBoard()
	state := b.State()
	state.Headline = strings.Repeat("x", 8<<20) // more than the sockets' buffers hold
	server, err := Serve(t.Context(), "127.0.0.1:0", func() State { return state })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	slow, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slow.Close() })
	if _, err := io.WriteString(slow, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if response := get(t, server.URL()); response.status != http.StatusOK {
		t.Errorf("another viewer: %d", response.status)
	}
	start := time.Now()
	server.Close()
	if took := time.Since(start); took > goodbyeTimeout+2*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestAddressInUse(t *testing.T) {
	b, _ := newTestBoard()
	server := serve(t, b)
	if second, err := Serve(t.Context(), server.listener.Addr().String(), b.State); err == nil {
		second.Close()
		t.Error("two servers at one address")
	}
}
