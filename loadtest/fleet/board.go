package fleet

import (
	"sync"

	"example.com/flashsale/loadtest/attack"
)

// board adds up the progress of all members. Its methods may be called concurrently.
type board struct {
	mu     sync.Mutex
	latest []attack.Progress
	spread attack.Spread         // of all members since the last report
	report func(attack.Progress) // nil: nobody wants to know
}

// put replaces the progress of a member, and reports the sum when the first one has moved.
func (b *board) put(i int, p attack.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latest[i] = p
	b.spread = b.spread.Add(p.Response)
	if i != 0 || b.report == nil {
		return
	}
	sum := attack.Progress{Elapsed: p.Elapsed, Duration: p.Duration}
	for _, one := range b.latest {
		sum.Users += one.Users
		sum.Accepted += one.Accepted
		sum.Replayed += one.Replayed
		sum.Rejected += one.Rejected
		sum.Failed += one.Failed
		sum.Unknown += one.Unknown
		sum.Dropped += one.Dropped
		sum.PerSecond += one.PerSecond
	}
	sum.Response, b.spread = b.spread, attack.Spread{}
	b.report(sum)
}
