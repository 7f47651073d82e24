package attack

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receipt is what a stage answers to an order it has placed.
const receipt = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n" +
	`{"order_id":17,"total_cents":1999}`

// wireServer serves connections on a loopback port with handle, each in a goroutine
// of its own, until the test ends. n numbers the connections from 1 in the order in
// which they were accepted.
type wireServer struct {
	listener net.Listener
	url      string
	serving  sync.WaitGroup
}

func serveWire(t testing.TB, handle func(s *wireServer, wire net.Conn, n int)) *wireServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &wireServer{listener: listener, url: "http://" + listener.Addr().String()}
	s.serving.Go(func() {
		for n := 1; ; n++ {
			wire, err := listener.Accept()
			if err != nil {
				return
			}
			s.serving.Go(func() {
				defer func() { _ = wire.Close() }()
				handle(s, wire, n)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close() // the test may have closed it already
		s.serving.Wait()
	})
	return s
}

// readRequest reads one whole request, or fails when the client has gone.
func readRequest(from *bufio.Reader) (*http.Request, error) {
	req, err := http.ReadRequest(from)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return req, err
}

// oneUser returns a configuration for one attempt after another against url.
func oneUser(url string, duration time.Duration) Config {
	return Config{Target: url, Workload: Sustained, Users: 1, ProductIDs: []int64{7}, Duration: duration}
}

// outcomes runs cfg and returns all its outcomes.
func outcomes(t *testing.T, cfg Config) []Outcome {
	t.Helper()
	result, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var all []Outcome
	for o := range result.Outcomes() {
		all = append(all, o)
	}
	if len(all) != result.Len() {
		t.Errorf("%d outcomes, but Len is %d", len(all), result.Len())
	}
	return all
}

// pipe returns a dialFunc for connections in memory, which live within a synctest
// bubble; each one's far end is given to accept.
func pipe(accept func(net.Conn)) dialFunc {
	return func(ctx context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		accept(far)
		return near, nil
	}
}

// silent reads requests and answers none.
func silent(wire net.Conn) { _, _ = io.Copy(io.Discard, wire) }

var errNoDial = errors.New("no connection in this test")
