package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"example.com/flashsale/harness/stage"
)

const (
	connections = 64
	// maxImbalance is how many times the median the busiest worker may have.
	maxImbalance = 2.5
	askTimeout   = 10 * time.Second
)

// balance counts who serves connections that stay open, in the default mode.
func balance(ctx context.Context, t *trial) error {
	counts, err := t.connect(ctx)
	if err != nil {
		return err
	}
	if counts[0] == 0 {
		t.miss("a worker has no connection: %v", counts)
	}
	if median := medianOf(counts); float64(counts[len(counts)-1]) > maxImbalance*median {
		t.miss("a worker has more than %g times the median: %v", maxImbalance, counts)
	}
	return nil
}

// balanceShared only reports: an idle worker takes the next connection, so some get more than others.
func balanceShared(ctx context.Context, t *trial) error {
	_, err := t.connect(ctx)
	return err
}

// connect opens the connections, all before the first is closed, and returns how many each worker has, sorted.
func (t *trial) connect(ctx context.Context) ([]int, error) {
	byPID := map[int]int{}
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	for range connections {
		conn, pid, err := who(ctx, t.process.Addr)
		if conn != nil {
			open = append(open, conn)
		}
		if err != nil {
			return nil, err
		}
		byPID[pid]++
	}
	var counts []int
	for _, n := range byPID {
		counts = append(counts, n)
	}
	for len(counts) < t.health.Processes {
		counts = append(counts, 0)
	}
	slices.Sort(counts)
	t.result.Connections, t.result.Times = counts, 1
	if !sleep(ctx, t.Duration/2) { // the load goes on beside them
		return nil, context.Cause(ctx)
	}
	return counts, nil
}

// who opens a connection and asks which worker serves it.
func who(ctx context.Context, addr string) (net.Conn, int, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, 0, err
	}
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return conn, 0, err
	}
	if _, err := fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: %s\r\n\r\n", addr); err != nil {
		return conn, 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return conn, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var health stage.Health
	err = json.NewDecoder(response.Body).Decode(&health)
	return conn, health.Pid, err
}

// medianOf returns the median of sorted numbers.
func medianOf(sorted []int) float64 {
	n := len(sorted)
	return float64(sorted[(n-1)/2]+sorted[n/2]) / 2
}
