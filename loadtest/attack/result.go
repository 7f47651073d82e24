package attack

import (
	"cmp"
	"iter"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"example.com/flashsale/loadtest/schedule"
)

// Result is what a run found. It may be read concurrently.
type Result struct {
	Workload     Workload
	Start        time.Time     // when the users were let go
	Elapsed      time.Duration // from Start to the last answer
	MeasuredFrom time.Duration // the figures below count what ended in this window …
	MeasuredTo   time.Duration // … since Start; a flash sale is measured as a whole
	Interrupted  bool          // the context ended before the run did

	Counts          Counts
	ElapsedSeconds  float64 // length of the measured window; flash sale: Elapsed
	QPS             float64 // answers per second of it
	OrdersPerSecond float64 // accepted per second; flash sale: until the last one was accepted

	// Latencies in microseconds, from send to answer, in the open model from the
	// moment when the request was due. All contains Failed and Unknown too, at the
	// time they were given up. Never nil.
	Accepted *hdrhistogram.Histogram
	Rejected *hdrhistogram.Histogram
	All      *hdrhistogram.Histogram

	// Unanswered are the users of a closed loop whose last request got no answer at all.
	Unanswered int64

	// Patience is how long a user waited for an answer: Config.ClientTimeout.
	Patience time.Duration

	// MemoryBytes is what the processes that drove the users held when the last answer had come, with all connections
	// open and all outcomes recorded; 0: not known.
	MemoryBytes int64

	Open *Open // what only the open model has; nil in the closed one

	logs   []*userLog
	recipe recipe
	codes  *codeTable
}

// recipe is what the figures of a result are computed with, beside its logs.
type recipe struct {
	Workload     Workload
	Duration     time.Duration
	Warmup       time.Duration
	Products     []int64
	Plan         *schedule.Plan // nil: a closed loop
	LagTolerance time.Duration
	CPUShare     float64
	MemoryBytes  int64
	Patience     time.Duration // 0 in a file from before it was kept: DefaultClientTimeout
}

func (r recipe) patience() time.Duration { return cmp.Or(r.Patience, DefaultClientTimeout) }

// Counts are the requests of the measured window by class and code.
type Counts struct {
	Requests       int64            `json:"requests"` // the sum of the five classes
	Accepted       int64            `json:"accepted"`
	Replayed       int64            `json:"replayed"`
	Rejected       int64            `json:"rejected"`
	RejectedByCode map[string]int64 `json:"rejected_by_code"`
	Failed         int64            `json:"failed"`
	FailedByCode   map[string]int64 `json:"failed_by_code"`
	Unknown        int64            `json:"unknown"`
	UnknownByCode  map[string]int64 `json:"unknown_by_code"`
}

// Len returns the number of all attempts, warm-up included.
func (r *Result) Len() int {
	n := 0
	for _, log := range r.logs {
		for _, chunk := range log.chunks {
			n += len(chunk)
		}
		n += len(log.open)
	}
	return n
}

// Outcomes yields every attempt of the run, warm-up included, user by user and in
// each user's order of sending. It may be called any number of times.
func (r *Result) Outcomes() iter.Seq[Outcome] {
	return func(yield func(Outcome) bool) {
		for _, log := range r.logs {
			if !log.each(func(rec *record) bool { return yield(r.outcome(log.userID, rec)) }) {
				return
			}
		}
	}
}

func (r *Result) outcome(userID int64, rec *record) Outcome {
	return Outcome{
		Key:        rec.key,
		UserID:     userID,
		ProductID:  r.recipe.Products[rec.product],
		Quantity:   int64(rec.quantity),
		Class:      rec.class,
		Status:     int(rec.status),
		Code:       r.codes.text(rec.code),
		OrderID:    rec.orderID,
		TotalCents: rec.totalCents,
		SentAt:     rec.sentAt,
		Waited:     rec.waited(),
		Latency:    rec.latency,
	}
}

// newResult computes the figures of a run whose users have all ended.
func newResult(c *crowd, start time.Time, interrupted bool) *Result {
	r := &Result{
		Start:       start,
		Interrupted: interrupted,
		codes:       &c.codes,
		recipe: recipe{
			Workload: c.cfg.Workload, Duration: c.cfg.Duration, Warmup: c.cfg.Warmup, Products: c.cfg.ProductIDs,
			LagTolerance: c.cfg.LagTolerance, CPUShare: c.cpu, MemoryBytes: c.memory, Patience: c.cfg.ClientTimeout,
		},
	}
	if c.cfg.Schedule != nil {
		r.recipe.Plan = new(c.cfg.Schedule.Plan())
	}
	for _, u := range c.users {
		r.logs = append(r.logs, u.log)
	}
	if c.refused != nil {
		r.logs = append(r.logs, c.refused)
	}
	r.compute()
	return r
}

// compute sets everything that follows from the logs and the recipe.
func (r *Result) compute() {
	how := r.recipe
	r.Workload, r.Patience, r.MemoryBytes = how.Workload, how.patience(), how.MemoryBytes
	r.Elapsed = lastEnd(r.logs)
	w := window{to: r.Elapsed, whole: true}
	if r.Workload == Sustained {
		to := min(how.Duration, r.Elapsed)
		w = window{from: min(how.Warmup, to), to: to}
	}
	if how.Plan != nil {
		w = window{from: how.Warmup, to: how.Duration, open: true, late: how.LagTolerance}
	}
	r.MeasuredFrom, r.MeasuredTo = w.from, w.to
	t := foldAll(r.logs, w)
	r.fill(t)
	if how.Plan != nil {
		r.Open = newOpen(how, t)
	} else {
		r.Unanswered = unanswered(r.logs)
	}
}

// unanswered counts the users whose last request got no answer.
func unanswered(logs []*userLog) (n int64) {
	for _, log := range logs {
		answered := true
		log.each(func(rec *record) bool {
			answered = rec.status != 0
			return true
		})
		if !answered {
			n++
		}
	}
	return n
}

// fill computes the figures from the tally of the measured window.
func (r *Result) fill(t *tally) {
	r.Counts = t.counts(r.codes)
	r.Accepted, r.Rejected, r.All = t.accepted, t.rejected, t.all
	measured := r.MeasuredTo - r.MeasuredFrom
	selling := measured
	if r.Workload == FlashSale {
		selling = t.lastAccept
	}
	r.ElapsedSeconds = measured.Seconds()
	r.QPS = perSecond(t.answered, measured)
	r.OrdersPerSecond = perSecond(t.sold, selling)
}

// perSecond returns n ÷ span, and 0 where there was no time.
func perSecond(n int64, span time.Duration) float64 {
	if span <= 0 {
		return 0
	}
	return float64(n) / span.Seconds()
}

// lastEnd returns when the last attempt of all logs ended.
func lastEnd(logs []*userLog) time.Duration {
	var last time.Duration
	for _, log := range logs {
		if n := len(log.open); n > 0 { // a user's attempts end in order
			last = max(last, log.open[n-1].endedAt())
		}
	}
	return last
}

// foldAll tallies the logs: each worker takes a share of them with histograms of its
// own, and these are merged.
func foldAll(logs []*userLog, w window) *tally {
	workers := min(runtime.GOMAXPROCS(0), max(len(logs), 1))
	tallies := make([]*tally, workers)
	var wg sync.WaitGroup
	for i := range workers {
		tallies[i] = newTally()
		wg.Go(func() {
			for j := i; j < len(logs); j += workers {
				logs[j].each(func(rec *record) bool { tallies[i].add(rec, w); return true })
				if w.open {
					tallies[i].addOpen(logs[j], w)
				}
			}
		})
	}
	wg.Wait()
	for _, t := range tallies[1:] {
		tallies[0].merge(t)
	}
	return tallies[0]
}
