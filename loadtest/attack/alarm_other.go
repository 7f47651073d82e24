//go:build !linux

package attack

import (
	"context"
	"time"
)

// alarm waits as precisely as the Go runtime does. One goroutine at a time may use it.
type alarm struct{ ctx context.Context }

// newAlarm returns an alarm whose waits end with ctx.
func newAlarm(ctx context.Context) (*alarm, error) { return &alarm{ctx}, nil }

// wait blocks for d, or until the context ends, which is an error.
func (a *alarm) wait(d time.Duration) error {
	if !sleep(a.ctx, d) {
		return a.ctx.Err()
	}
	return nil
}

func (*alarm) close() {}
