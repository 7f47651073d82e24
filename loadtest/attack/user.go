package attack

import (
	"context"
	"time"
)

// sender makes one attempt; see client.send.
type sender interface {
	send(ctx context.Context, rec *record) (answer, bool)
}

// user is one closed loop: send, learn, decide. One goroutine owns it.
type user struct {
	sender    sender
	behaviour behaviour
	keys      keySource
	quantity  uint16
	log       *userLog
	counters  *counters
	spread    *spreadCounters // nil: nobody wants to know
}

// run orders until the behaviour is satisfied, the time is up, or ctx ends. It
// returns when the last attempt has ended.
func (u *user) run(ctx context.Context, duration time.Duration) {
	var rec record
	pause := time.Duration(0)
	for leave := false; !leave; {
		if rec.endedAt()+pause >= duration || !sleep(ctx, pause) {
			return
		}
		rec = record{key: u.keys.next(), product: uint32(u.behaviour.product()), quantity: u.quantity}
		ans, sent := u.sender.send(ctx, &rec)
		if !sent {
			return
		}
		u.log.add(&rec)
		u.counters.byClass[rec.class].Add(1)
		u.spread.add(&rec)
		pause, leave = u.behaviour.after(&rec, ans)
	}
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
