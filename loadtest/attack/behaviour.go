package attack

import (
	"math/rand/v2"
	"time"
)

// Waiting times of the users.
const (
	lastTryAfter = 200 * time.Millisecond // from "out of stock" to the last try
	minBackOff   = 10 * time.Millisecond
	maxBackOff   = 100 * time.Millisecond // at first, before jitter
	doublings    = 4                      // of the back-off at most, once for each further time
	jitterPart   = 0.5                    // of the back-off, added at most
)

// behaviour is what one user has in mind. Only its user calls it.
type behaviour interface {
	// product returns the index of the product to order next.
	product() int
	// after looks at an attempt that ended and says how long to wait before the
	// next one, or that the user leaves.
	after(rec *record, ans answer) (pause time.Duration, leave bool)
}

// flashBuyer wants one product as long as there is any. Stock that was sold out
// can come back (a broken guard writes old values back, a failed transaction gives
// its units back), so it looks once more before it leaves.
type flashBuyer struct {
	wanted  int
	soldOut codeID // what the service answers when there is none left
	lastTry bool
	patience
}

func (b *flashBuyer) product() int { return b.wanted }

func (b *flashBuyer) after(rec *record, ans answer) (time.Duration, bool) {
	if b.lastTry {
		return 0, true
	}
	if rec.class == Rejected && rec.code == b.soldOut {
		b.lastTry = true
		return lastTryAfter, false
	}
	return b.pauseAfter(rec, ans), false
}

// sustainedBuyer orders until it is stopped.
type sustainedBuyer struct {
	draw *drawer
	patience
}

func (b *sustainedBuyer) product() int { return b.draw.next(b.rng) }

func (b *sustainedBuyer) after(rec *record, ans answer) (time.Duration, bool) {
	return b.pauseAfter(rec, ans), false
}

// patience is how long a user waits before it asks again. Only its user calls it.
type patience struct {
	rng     *rand.Rand
	refused int // so many times in a row
}

// pauseAfter returns how long a user waits before its next attempt: not at all
// after an answer, unless that asks for patience; after a lost connection, always.
// Who is turned away again waits longer each time, as buyers do: if 20,000 of them came
// back ten times a second, the service would do nothing but refuse them, and the last
// in line would wait for longer than any client does.
func (p *patience) pauseAfter(rec *record, ans answer) time.Duration {
	if rec.status != 0 && rec.status != 503 && rec.status != 429 {
		p.refused = 0
		return 0
	}
	p.refused++
	return backOff(ans.retryAfter, p.refused, p.rng.Float64())
}

// backOff returns the wait that retryAfter (negative: unknown) asks for, within
// bounds, doubled for each time but the first, plus a jitter so that users who were
// turned away together do not come back together. random is in [0, 1).
func backOff(retryAfter time.Duration, times int, random float64) time.Duration {
	base := maxBackOff
	if retryAfter >= 0 {
		base = min(max(retryAfter, minBackOff), maxBackOff)
	}
	base <<= min(times-1, doublings)
	return base + time.Duration(random*jitterPart*float64(base))
}
