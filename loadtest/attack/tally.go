package attack

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// window is the part of a run that is measured.
type window struct {
	from, to time.Duration
	whole    bool // everything counts
}

// holds reports whether an attempt counts. An answer counts when it came in the
// window: this gives the rate of work done, without a bias at either end. An
// attempt without an answer counts too when it was sent in the window but given up
// later, or a service that stops answering would show no failures.
func (w window) holds(rec *record) bool {
	if w.whole {
		return true
	}
	in := func(t time.Duration) bool { return t >= w.from && t <= w.to }
	return in(rec.endedAt()) || rec.status == 0 && in(rec.sentAt)
}

// Range and precision of the histograms, in microseconds: three digits up to
// ten minutes.
const (
	minLatencyUS     = 1
	maxLatencyUS     = int64(10 * time.Minute / time.Microsecond)
	significantDigit = 3
)

// tally counts attempts. One goroutine owns it.
type tally struct {
	byClass    [classes]int64
	byCode     [classes]map[codeID]int64
	answered   int64
	lastAccept time.Duration // when the last order was accepted
	accepted   *hdrhistogram.Histogram
	rejected   *hdrhistogram.Histogram
	all        *hdrhistogram.Histogram
}

func newTally() *tally {
	t := &tally{accepted: newHistogram(), rejected: newHistogram(), all: newHistogram()}
	for class := range t.byCode {
		t.byCode[class] = make(map[codeID]int64)
	}
	return t
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(minLatencyUS, maxLatencyUS, significantDigit)
}

// add counts rec if the window holds it.
func (t *tally) add(rec *record, w window) {
	if !w.holds(rec) {
		return
	}
	t.byClass[rec.class]++
	if rec.code != 0 {
		t.byCode[rec.class][rec.code]++
	}
	if rec.status != 0 {
		t.answered++
	}
	observe(t.all, rec.latency)
	switch rec.class {
	case Accepted:
		observe(t.accepted, rec.latency)
		t.lastAccept = max(t.lastAccept, rec.endedAt())
	case Rejected:
		observe(t.rejected, rec.latency)
	}
}

// observe records a latency; what is beyond the range counts as its end.
func observe(h *hdrhistogram.Histogram, latency time.Duration) {
	us := min(max(latency.Microseconds(), minLatencyUS), maxLatencyUS)
	_ = h.RecordValue(us) // cannot fail within the range
}

// merge adds o to t.
func (t *tally) merge(o *tally) {
	for class := range t.byClass {
		t.byClass[class] += o.byClass[class]
		for code, n := range o.byCode[class] {
			t.byCode[class][code] += n
		}
	}
	t.answered += o.answered
	t.lastAccept = max(t.lastAccept, o.lastAccept)
	t.accepted.Merge(o.accepted)
	t.rejected.Merge(o.rejected)
	t.all.Merge(o.all)
}

// counts returns the tally with its codes in text. The maps are never nil.
func (t *tally) counts(codes *codeTable) Counts {
	c := Counts{
		Accepted:       t.byClass[Accepted],
		Replayed:       t.byClass[Replayed],
		Rejected:       t.byClass[Rejected],
		Failed:         t.byClass[Failed],
		Unknown:        t.byClass[Unknown],
		RejectedByCode: t.codes(Rejected, codes),
		FailedByCode:   t.codes(Failed, codes),
		UnknownByCode:  t.codes(Unknown, codes),
	}
	c.Requests = c.Accepted + c.Replayed + c.Rejected + c.Failed + c.Unknown
	return c
}

func (t *tally) codes(class Class, codes *codeTable) map[string]int64 {
	texts := make(map[string]int64, len(t.byCode[class]))
	for code, n := range t.byCode[class] {
		texts[codes.text(code)] += n
	}
	return texts
}
