package backing

import (
	"context"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// heartbeat is how often the clock of miniredis moves. Keys expire at most that late.
const heartbeat = 5 * time.Millisecond

// embeddedRedis runs miniredis in this process. By itself it never expires a key, and the lock of a dead holder would
// stay for ever; so a goroutine moves its clock with the real one.
func embeddedRedis(context.Context) (started, error) {
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		return started{}, err
	}
	quit := make(chan struct{})
	var clock sync.WaitGroup
	clock.Go(func() { runClock(server, quit) })
	stop := func() error {
		close(quit)
		clock.Wait()
		server.Close()
		return nil
	}
	return started{url: redisURL(server.Addr(), ""), version: "miniredis", note: "in this process", stop: stop}, nil
}

// runClock forwards the server's clock by the time that has really passed, until quit is closed.
func runClock(server *miniredis.Miniredis, quit <-chan struct{}) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
			now := time.Now()
			server.FastForward(now.Sub(last))
			last = now
		}
	}
}
