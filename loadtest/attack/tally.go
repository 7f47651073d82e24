package attack

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// window is the part of a run that is measured.
type window struct {
	from, to time.Duration
	whole    bool          // everything counts
	open     bool          // the open model
	late     time.Duration // open model: from which lag on a send is late
}

// contains reports whether a time lies in the window.
func (w window) contains(t time.Duration) bool { return w.whole || t >= w.from && t <= w.to }

// holds reports whether an attempt counts. An answer counts when it came in the
// window: this gives the rate of work done, without a bias at either end. An
// attempt without an answer counts too when it was sent in the window but given up
// later, or a service that stops answering would show no failures. In the open model
// all that were due in the window count, however late their answers came: to leave
// out the slowest would be the omission that this model is there to avoid.
func (w window) holds(rec *record) bool {
	if w.open {
		return w.contains(rec.dueAt())
	}
	return w.contains(rec.endedAt()) || rec.status == 0 && w.contains(rec.sentAt)
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
	answered   int64         // that came in the window
	sold       int64         // orders that were accepted in the window
	lastAccept time.Duration // when the last order was accepted
	accepted   *hdrhistogram.Histogram
	rejected   *hdrhistogram.Histogram
	all        *hdrhistogram.Histogram

	// The open model only.
	service *hdrhistogram.Histogram // of accepted orders, from the real send
	lag     *hdrhistogram.Histogram // of all sends: how late by the generator's own fault
	late    int64                   // sends beyond the tolerance, and drops for the same reason
	queued  int64                   // sends that had to wait for a free connection
	dropped int64
}

func newTally() *tally {
	t := &tally{accepted: newHistogram(), rejected: newHistogram(), all: newHistogram(), service: newHistogram(), lag: newHistogram()}
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
	if rec.status != 0 && w.contains(rec.endedAt()) {
		t.answered++
		if rec.class == Accepted {
			t.sold++
		}
	}
	if !w.holds(rec) {
		return
	}
	t.byClass[rec.class]++
	if rec.code != 0 {
		t.byCode[rec.class][rec.code]++
	}
	observe(t.all, rec.response())
	switch rec.class {
	case Accepted:
		observe(t.accepted, rec.response())
		observe(t.service, rec.latency)
		t.lastAccept = max(t.lastAccept, rec.endedAt())
	case Rejected:
		observe(t.rejected, rec.response())
	}
}

// addOpen counts one log of the open model. A connection that had been free before
// the order was due, or became free later, could have sent it then: what comes on
// top is the generator's own lag.
func (t *tally) addOpen(log *userLog, w window) {
	free := time.Duration(0) // when the connection became free
	log.each(func(rec *record) bool {
		if w.holds(rec) {
			lag := rec.sentAt - max(rec.dueAt(), free)
			observe(t.lag, lag)
			if lag > w.late {
				t.late++
			}
			if rec.waited()-lag > w.late {
				t.queued++
			}
		}
		free = rec.endedAt()
		return true
	})
	for _, due := range log.dropped {
		if w.contains(due) {
			t.dropped++
		}
	}
	for _, due := range log.lateDrops {
		if w.contains(due) {
			t.late++
		}
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
	t.sold += o.sold
	t.late += o.late
	t.queued += o.queued
	t.dropped += o.dropped
	t.lastAccept = max(t.lastAccept, o.lastAccept)
	t.accepted.Merge(o.accepted)
	t.rejected.Merge(o.rejected)
	t.all.Merge(o.all)
	t.service.Merge(o.service)
	t.lag.Merge(o.lag)
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
