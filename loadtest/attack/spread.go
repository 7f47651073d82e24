package attack

import (
	"math"
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"
)

// Buckets of response times in microseconds: one for each value below spreadSteps, and from there on spreadSteps for
// each power of two, so that none is wider than a sixteenth of what is in it. The last one ends at 134 s.
const (
	spreadBits    = 4
	spreadSteps   = 1 << spreadBits
	spreadLongest = 27 // binary digits of the longest response time that is told from longer ones
	spreadBuckets = spreadSteps * (spreadLongest - spreadBits + 1)
)

// Spread counts response times in buckets that are so narrow that a quantile is right within 3 %. It is for looking at a
// run while it goes on; the report's histograms are finer. The zero value has counted nothing.
type Spread struct {
	Counts []uint32 // by bucket; nil: none
}

// Count returns how many response times were counted.
func (s Spread) Count() int64 {
	var n int64
	for _, c := range s.Counts {
		n += int64(c)
	}
	return n
}

// Quantile returns the response time of nearest rank, such as q = 0.99, or 0 where nothing was counted.
func (s Spread) Quantile(q float64) time.Duration {
	n := s.Count()
	if n == 0 {
		return 0
	}
	rank := min(max(int64(math.Ceil(q*float64(n))), 1), n)
	for i, c := range s.Counts {
		if rank -= int64(c); rank <= 0 {
			return bucketMiddle(i)
		}
	}
	return bucketMiddle(len(s.Counts) - 1)
}

// Add returns the counts of both.
func (s Spread) Add(o Spread) Spread {
	sum := Spread{Counts: make([]uint32, max(len(s.Counts), len(o.Counts)))}
	copy(sum.Counts, s.Counts)
	for i, c := range o.Counts {
		sum.Counts[i] += c
	}
	return sum
}

func bucket(response time.Duration) int {
	us := uint32(min(max(response.Microseconds(), 0), 1<<spreadLongest-1))
	shift := max(bits.Len32(us)-spreadBits-1, 0)
	return spreadSteps*shift + int(us>>shift)
}

func bucketMiddle(i int) time.Duration {
	shift := max(i/spreadSteps-1, 0)
	from := (i - spreadSteps*shift) << shift
	return time.Duration(from)*time.Microsecond + time.Duration(1<<shift-1)*time.Microsecond/2
}

// spreads count while a run goes on: several, because users that share one would wait for each other's cache lines.
// Nil counts nothing.
type spreads []spreadCounters

type spreadCounters [spreadBuckets]atomic.Uint32

// newSpreads returns nil where nobody wants to know.
func newSpreads(wanted bool, users int) spreads {
	if !wanted {
		return nil
	}
	return make(spreads, min(users, 4*runtime.GOMAXPROCS(0)))
}

// of returns the counters of a user.
func (s spreads) of(user int) *spreadCounters {
	if s == nil {
		return nil
	}
	return &s[user%len(s)]
}

// add counts the response time of an accepted order.
func (c *spreadCounters) add(rec *record) {
	if c != nil && rec.class == Accepted {
		c[bucket(rec.response())].Add(1)
	}
}

// sum returns all that was counted so far.
func (s spreads) sum() Spread {
	sum := Spread{Counts: make([]uint32, spreadBuckets)}
	for i := range s {
		for b := range s[i] {
			sum.Counts[b] += s[i][b].Load()
		}
	}
	return sum
}

// since returns what was counted after an earlier sum.
func (s Spread) since(earlier Spread) Spread {
	rest := Spread{Counts: make([]uint32, len(s.Counts))}
	copy(rest.Counts, s.Counts)
	for i, c := range earlier.Counts {
		rest.Counts[i] -= c
	}
	return rest
}
