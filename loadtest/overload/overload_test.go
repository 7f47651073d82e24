package overload

import (
	"iter"
	"net/http"
	"slices"
	"testing"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/report"
)

const (
	ms       = time.Millisecond
	patience = 5 * time.Second
)

// A run of 12 s: 1 s of warm-up, 4 s before, a spike of 2 s, 5 s after.
var span = Span{Measured: time.Second, From: 5 * time.Second, To: 7 * time.Second, End: 12 * time.Second}

// orders are one every 5 ms, with the response time and the answer that the caller chooses.
func orders(from, to time.Duration, answer func(due time.Duration) (time.Duration, attack.Class, int)) []attack.Outcome {
	var all []attack.Outcome
	for due := from; due < to; due += 5 * ms {
		response, class, status := answer(due)
		waited := response / 2
		all = append(all, attack.Outcome{Class: class, Status: status, SentAt: due + waited, Waited: waited, Latency: response - waited})
	}
	return all
}

func fine(response time.Duration) func(time.Duration) (time.Duration, attack.Class, int) {
	return func(time.Duration) (time.Duration, attack.Class, int) {
		return response, attack.Accepted, http.StatusCreated
	}
}

func refused(time.Duration) (time.Duration, attack.Class, int) {
	return ms, attack.Failed, http.StatusServiceUnavailable
}

func none() iter.Seq[time.Duration] { return slices.Values([]time.Duration(nil)) }

func measure(all ...[]attack.Outcome) report.Overload {
	return Measure(span, slices.Values(slices.Concat(all...)), none(), patience)
}

func TestFiguresOfASpike(t *testing.T) {
	s := time.Second
	shedding := func(due time.Duration) (time.Duration, attack.Class, int) {
		switch i := int(due/(5*ms)) % 4; {
		case i == 0:
			return 40 * ms, attack.Accepted, http.StatusCreated
		case i == 1 && due < 6*s:
			return 2 * s, attack.Accepted, http.StatusCreated // answered after the spike, or near its end
		case i == 2 && due < 6*s:
			return 3 * s, attack.Unknown, 0
		}
		return refused(due)
	}
	f := Measure(span, slices.Values(slices.Concat(
		orders(0, s, refused), // the warm-up counts nowhere
		orders(s, 5*s, fine(20*ms)), orders(5*s, 7*s, shedding), orders(7*s, 12*s, fine(20*ms)),
	)), slices.Values([]time.Duration{s, 5 * s, 6 * s, 7*s - 1, 11 * s}), patience)
	if f.FromSeconds != 5 || f.Seconds != 2 || f.Due != 403 || f.Accepted != 150 || f.Overloaded != 200 || f.Other != 50 || f.Dropped != 3 {
		t.Errorf("orders that were due: %+v", f)
	}
	if f.Accepted+f.Overloaded+f.Other+f.Dropped != f.Due || f.OverloadedShare != 200.0/403 {
		t.Errorf("they do not add up: %+v", f)
	}
	// In the spike came the last 4 answers from before it, and of its own those of the first kind but the last 2.
	if f.GoodputPerSecond != float64(4+98)/2 || f.GoodputBeforePerSecond != float64(800-4)/4 {
		t.Errorf("goodput %v, before %v", f.GoodputPerSecond, f.GoodputBeforePerSecond)
	}
	if *f.P99MS != 2000 || *f.BeforeP99MS != 20 {
		t.Errorf("p99 %v, before %v", *f.P99MS, *f.BeforeP99MS)
	}
}

func TestRecovery(t *testing.T) {
	s := time.Second
	before, spike := orders(s, 5*s, fine(20*ms)), orders(5*s, 7*s, refused)
	// A queue of two seconds that takes three to work off.
	queue := func(due time.Duration) (time.Duration, attack.Class, int) {
		if left := 2*s - (due-7*s)*2/3; left > 20*ms {
			return left, attack.Accepted, http.StatusCreated
		}
		return fine(20 * ms)(due)
	}
	refusing := func(due time.Duration) (time.Duration, attack.Class, int) {
		if due < 8*s {
			return refused(due)
		}
		return fine(20 * ms)(due)
	}
	late := func(time.Duration) (time.Duration, attack.Class, int) {
		return 6 * s, attack.Accepted, http.StatusCreated
	}
	for name, test := range map[string]struct {
		orders    [][]attack.Outcome
		recovered *bool
		ms        float64
	}{
		"at once":                      {[][]attack.Outcome{before, spike, orders(7*s, 12*s, fine(21*ms))}, new(true), 0},
		"when the queue is empty":      {[][]attack.Outcome{before, spike, orders(7*s, 12*s, queue)}, new(true), 3000},
		"when nothing is refused":      {[][]attack.Outcome{before, spike, orders(7*s, 12*s, refusing)}, new(true), 1000},
		"slower than before":           {[][]attack.Outcome{before, spike, orders(7*s, 12*s, fine(23*ms))}, new(false), 0},
		"later than buyers wait":       {[][]attack.Outcome{before, spike, orders(7*s, 12*s, late)}, new(false), 0},
		"never an order again":         {[][]attack.Outcome{before, spike, orders(7*s, 12*s, refused)}, new(false), 0},
		"nobody came again":            {[][]attack.Outcome{before, spike}, new(false), 0},
		"nothing known of before":      {[][]attack.Outcome{spike, orders(7*s, 12*s, fine(20*ms))}, nil, 0},
		"nothing was good before":      {[][]attack.Outcome{orders(s, 5*s, refused), orders(7*s, 12*s, fine(20*ms))}, nil, 0},
		"before it as bad as after it": {[][]attack.Outcome{orders(s, 5*s, queue), orders(7*s, 12*s, fine(30*ms))}, new(true), 0},
		"nothing":                      {nil, nil, 0},
	} {
		f := measure(test.orders...)
		if (f.Recovered == nil) != (test.recovered == nil) || f.Recovered != nil && *f.Recovered != *test.recovered {
			t.Errorf("%s: recovered %v", name, f.Recovered)
			continue
		}
		recovered := f.Recovered != nil && *f.Recovered
		if (f.RecoveryMS != nil) != recovered || recovered && *f.RecoveryMS != test.ms {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// A run that ends with the spike, or less than a second after it, shows no recovery.
func TestNoTimeAfterTheSpike(t *testing.T) {
	s := time.Second
	for _, end := range []time.Duration{7 * s, 7*s + 900*ms} {
		short := span
		short.End = end
		f := Measure(short, slices.Values(orders(s, end, fine(20*ms))), none(), patience)
		if f.Recovered != nil || f.RecoveryMS != nil || *f.BeforeP99MS != 20 {
			t.Errorf("end at %v: %+v", end, f)
		}
	}
}
