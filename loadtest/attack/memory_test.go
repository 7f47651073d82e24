package attack

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// silentServer accepts connections and never answers. Its side of a connection costs this process little: there is no
// goroutine that reads.
func silentServer(b *testing.B) (url string) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var accepting sync.WaitGroup
	var open []net.Conn // of the goroutine that accepts, until it has ended
	accepting.Go(func() {
		for {
			wire, err := listener.Accept()
			if err != nil {
				return
			}
			open = append(open, wire)
		}
	})
	b.Cleanup(func() {
		_ = listener.Close()
		accepting.Wait()
		for _, wire := range open {
			_ = wire.Close()
		}
	})
	return "http://" + listener.Addr().String()
}

// BenchmarkUserMemory is what a user costs the generator while it waits for an answer: connection, buffers, goroutine,
// log. It contains the other end of the connection, so it is a little too much.
func BenchmarkUserMemory(b *testing.B) {
	const users = 9000 // two files each
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		url, before := silentServer(b), used()
		ctx, cancel := context.WithCancel(b.Context())
		var waiting uint64
		cfg := Config{
			Target: url, Workload: Sustained, Users: users, ProductIDs: []int64{1}, Duration: time.Minute, ProgressEvery: time.Second,
			Progress: func(Progress) {
				if waiting == 0 {
					waiting = used()
					cancel()
				}
			},
		}
		if _, err := Run(ctx, cfg); !errors.Is(err, ErrInterrupted) {
			b.Fatal(err)
		}
		cancel()
		b.ReportMetric(float64(waiting-before)/users, "B/user")
	}
}
