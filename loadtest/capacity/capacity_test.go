package capacity

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

var limits = Limits{Start: 50, Min: 1, Max: 100_000, Precision: 0.05}

// upTo is a service that holds every rate up to a limit, and counts what it is asked.
func upTo(limit float64, asked *int) func(float64, Phase) (Verdict, error) {
	return func(rate float64, _ Phase) (Verdict, error) {
		*asked++
		if rate <= limit {
			return Held, nil
		}
		return Missed, nil
	}
}

func TestSearchFindsTheLimit(t *testing.T) {
	for _, limit := range []float64{1, 3, 49, 50, 51, 100, 777, 12_345, 99_999} {
		asked := 0
		found, err := Search(limits, upTo(limit, &asked))
		if err != nil {
			t.Fatal(err)
		}
		if found.Rate > limit || found.Rate < limit/1.05 || found.Missed <= limit || found.Limited || found.Confirms != 1 {
			t.Errorf("limit %g: %+v", limit, found)
		}
		if asked > 20 {
			t.Errorf("limit %g: %d probes", limit, asked)
		}
	}
}

// A search that may not go on says what it knows: the best rate that held once, unconfirmed.
func TestSearchEndsWhenEnoughWasTried(t *testing.T) {
	for enough, want := range map[int]Found{
		1: {Rate: 50, Unfinished: true},
		3: {Rate: 200, Unfinished: true},
		5: {Rate: 400, Missed: 800, Unfinished: true},
		6: {Rate: 565.685, Missed: 800, Unfinished: true},
	} {
		l, asked := limits, 0
		l.Enough = func() bool { return asked >= enough }
		found, err := Search(l, upTo(600, &asked))
		found.Rate = math.Round(1000*found.Rate) / 1000
		if err != nil || found != want || asked != enough {
			t.Errorf("after %d: %+v, %v; %d were tried", enough, found, err, asked)
		}
	}
	asked := 0
	l := limits
	l.Enough = func() bool { return true } // the first probe is made all the same
	if found, err := Search(l, upTo(10, &asked)); err != nil || found != (Found{Missed: 50, Unfinished: true}) || asked != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	// What was not confirmed is not the answer, but what held below it.
	l.Enough = func() bool { return asked >= 9 }
	asked = 0
	found, err := Search(l, func(rate float64, phase Phase) (Verdict, error) {
		asked++
		if phase == Confirming || rate > 100 {
			return Missed, nil
		}
		return Held, nil
	})
	if err != nil || !found.Unfinished || found.Rate != 50 || found.Missed > 100 || found.Confirms != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestSearchWithoutALimit(t *testing.T) {
	asked := 0
	if found, err := Search(limits, upTo(1e9, &asked)); err != nil || found.Rate != limits.Max || !found.Limited || found.Missed != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err := Search(limits, upTo(0.5, &asked)); err != nil || found.Rate != 0 || found.Limited {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestALuckyProbeIsNotConfirmed(t *testing.T) {
	lucky := func(rate float64, phase Phase) (Verdict, error) {
		if rate <= 100 || phase != Confirming && rate <= 130 {
			return Held, nil
		}
		return Missed, nil
	}
	found, err := Search(limits, lucky)
	if err != nil || found.Rate > 100 || found.Rate < 95 || found.Missed > 106 {
		t.Errorf("%+v, %v", found, err)
	}
	never := func(rate float64, phase Phase) (Verdict, error) {
		if phase == Confirming {
			return Missed, nil
		}
		return Held, nil
	}
	if found, err := Search(Limits{Start: 2, Min: 1, Max: 4, Precision: 0.5}, never); err != nil || found.Rate != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestVoidProbes(t *testing.T) {
	// Above 400 the generator is the limit.
	slow := func(rate float64, _ Phase) (Verdict, error) {
		if rate > 400 {
			return Void, nil
		}
		return Held, nil
	}
	if found, err := Search(limits, slow); err != nil || found.Rate > 400 || found.Rate < 380 || !found.Limited {
		t.Errorf("%+v, %v", found, err)
	}
	// A disturbance that passes does not matter.
	probes, asked := 0, 0
	disturbed := func(rate float64, phase Phase) (Verdict, error) {
		if probes++; probes%3 == 0 {
			return Void, nil
		}
		return upTo(70, &asked)(rate, phase)
	}
	if found, err := Search(limits, disturbed); err != nil || found.Rate > 70 || found.Rate < 66 || found.Limited {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestAnErrorEndsTheSearch(t *testing.T) {
	broken := errors.New("broken")
	for at := 1; at < 12; at++ {
		probes := 0
		found, err := Search(limits, func(rate float64, phase Phase) (Verdict, error) {
			if probes++; probes == at {
				return Held, broken
			}
			unused := 0
			return upTo(70, &unused)(rate, phase)
		})
		if probes == at && (!errors.Is(err, broken) || found.Rate != 0) {
			t.Errorf("probe %d: %+v, %v", at, found, err)
		}
	}
}

func TestLimitsAreChecked(t *testing.T) {
	for _, l := range []Limits{
		{}, {Start: 1, Min: 0, Max: 2, Precision: 0.1}, {Start: 3, Min: 1, Max: 2, Precision: 0.1}, {Start: 1, Min: 1, Max: 2},
		{Start: 1, Min: 1, Max: 2, Precision: 0.1, Confirmations: -1}, {Start: math.NaN(), Min: 1, Max: 2, Precision: 0.1},
	} {
		if _, err := Search(l, nil); err == nil {
			t.Errorf("%+v is taken", l)
		}
	}
}

func TestObjective(t *testing.T) {
	o, err := ParseObjective("p99=50ms, failed=0.1%")
	if err != nil || o.String() != "p99=50ms,failed=0.1%" || o.Orders() != 1000 {
		t.Fatalf("%v, %v", o, err)
	}
	p99 := func(ms float64) map[string]*float64 { return map[string]*float64{"p99": &ms} }
	tests := []struct {
		figures Figures
		why     string
	}{
		{Figures{p99(50), 0.001}, ""},
		{Figures{p99(51.5), 0}, "p99 51.5ms"},
		{Figures{p99(1), 0.002}, "failed 0.2%"},
		{Figures{p99(60), 1}, "p99 60ms, failed 100%"},
		{Figures{}, "too few orders for a p99"},
	}
	for _, tt := range tests {
		if held, why := o.Judge(tt.figures); held != (tt.why == "") || why != tt.why {
			t.Errorf("%+v: %v %q, want %q", tt.figures, held, why, tt.why)
		}
	}
	for _, wrong := range []string{"", "p99", "p99=50", "p98=1ms", "failed=1", "failed=200%", "p99=1ms,p99=2ms", "p99=-1ms", "p99=1ms,"} {
		if o, err := ParseObjective(wrong); err == nil || !strings.HasPrefix(err.Error(), "objective") {
			t.Errorf("%q: %v, %v", wrong, o, err)
		}
	}
}

func TestUsers(t *testing.T) {
	d := Demand{RequestsPerUser: 10, PeakFactor: 4}
	if n := d.Users(100); n != 216_000 {
		t.Errorf("%d users", n)
	}
	if s := d.Formula(100); !strings.HasSuffix(s, "100.0/s × 86,400 s ÷ (10 × 4) = 216000") {
		t.Error(s)
	}
	for _, d := range []Demand{{}, {1, 0.5}, {-1, 2}, {math.NaN(), 2}, {1, math.Inf(1)}} {
		if d.Validate() == nil {
			t.Errorf("%+v is taken", d)
		}
	}
}

func TestProbeTime(t *testing.T) {
	for rate, want := range map[float64]time.Duration{1: time.Minute, 100: 10 * time.Second, 1000: 5 * time.Second} {
		if got := ProbeTime(rate, 1000, 5*time.Second, time.Minute); got != want {
			t.Errorf("%g/s: %v", rate, got)
		}
	}
}
