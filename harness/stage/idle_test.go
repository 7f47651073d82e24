package stage_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
)

// BenchmarkIdleConnections is the memory of a keep-alive connection on which one order was answered, as the kernel sees
// it: the growth of the stage's proportional set size. The kernel's own socket buffers are not in it.
func BenchmarkIdleConnections(b *testing.B) {
	const connections = 10_000
	services, err := backing.Start(b.Context(), backing.Options{Embedded: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = services.Close() })
	url, drop, err := backing.NewDatabase(b.Context(), services.Postgres.URL)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = drop(b.Context()) })
	binary, err := stage.Build(b.Context(), "stage4-async", stage.BuildOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		process, err := stage.Start(b.Context(), stage.Spec{Name: "stage4-async", Binary: binary, DatabaseURL: url})
		if err != nil {
			b.Fatal(err)
		}
		before := proportionalSize(process)
		open := connect(b, strings.TrimPrefix(process.URL, "http://"), connections)
		b.ReportMetric(float64(proportionalSize(process)-before)/connections, "B/connection")
		for _, wire := range open {
			_ = wire.Close()
		}
		process.Kill()
	}
}

func proportionalSize(process *stage.Process) int64 {
	return process.Measure(time.Minute).Stop().PSSBytesMax
}

// orderText is for a product that is not there: it goes the way of every order and leaves nothing behind.
const orderText = "POST /orders HTTP/1.1\r\nHost: stage\r\nContent-Type: application/json\r\nContent-Length: 46\r\n\r\n" +
	`{"user_id":1,"product_id":999999,"quantity":1}`

// connect opens connections and orders once on each.
func connect(b *testing.B, addr string, n int) (open []net.Conn) {
	b.Helper()
	for range n {
		wire, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil {
			b.Fatal(err)
		}
		open = append(open, wire)
		if err := wire.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			b.Fatal(err)
		}
		if _, err := io.WriteString(wire, orderText); err != nil {
			b.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReaderSize(wire, 512), nil)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
	return open
}
