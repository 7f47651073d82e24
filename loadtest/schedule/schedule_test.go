package schedule

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// near is far less than any wait that a clock can tell.
const near = 10 * time.Nanosecond

func mustNew(t *testing.T, p Plan) *Schedule {
	t.Helper()
	s, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWait(t *testing.T) {
	constant := Plan{Rate: 100, Duration: 10 * time.Second}
	ramp := Plan{Rate: 100, Peak: 300, Profile: Ramp, Duration: 10 * time.Second}
	warm := Plan{Rate: 100, Peak: 300, Profile: Ramp, Duration: 10 * time.Second, Warmup: time.Second}
	step := Plan{Rate: 10, Peak: 30, Profile: Step, Steps: 3, Duration: 3 * time.Second}
	spike := Plan{Rate: 10, Peak: 100, Profile: Spike, Duration: 10 * time.Second}
	sine := Plan{Rate: 10, Peak: 30, Profile: Sine, Duration: 10 * time.Second, Period: 2 * time.Second}
	tests := []struct {
		name    string
		plan    Plan
		elapsed time.Duration
		hits    float64
		want    time.Duration
	}{
		{"constant, first", constant, 0, 0, 0},
		{"constant, second", constant, 0, 1, 10 * ms},
		{"constant, in between", constant, 4 * ms, 1, 6 * ms},
		{"constant, on time", constant, 10 * ms, 1, 0},
		{"constant, late", constant, 5 * time.Second, 1, 0},
		{"constant, far ahead", constant, 0, 999, 9990 * ms},
		// 100t + 10t²: 1,000 at 6.18 s, 2,000 at the end.
		{"ramp, first", ramp, 0, 0, 0},
		{"ramp, middle", ramp, 5 * time.Second, 750, 0},
		{"ramp, half", ramp, 0, 1000, time.Duration((math.Sqrt(125) - 5) * float64(time.Second))},
		{"ramp, whole", ramp, 0, 1999.9999999, 10 * time.Second},
		{"warm-up", warm, 0, 50, 500 * ms},
		{"after the warm-up", warm, time.Second, 850, 5 * time.Second},
		// 10 in the first second, 20 in the second, 30 in the third.
		{"step, first", step, 0, 5, 500 * ms},
		{"step, second", step, 0, 20, 1500 * ms},
		{"step, third", step, 0, 45, 2500 * ms},
		// 40 up to 4 s, 200 more up to 6 s, 40 after it.
		{"spike, before", spike, 0, 20, 2 * time.Second},
		{"spike, in it", spike, 0, 140, 5 * time.Second},
		{"spike, after", spike, 0, 260, 8 * time.Second},
		// A whole period has the mean rate, and so has half of it.
		{"sine, trough", sine, 0, 40, 2 * time.Second},
		{"sine, crest", sine, 0, 20, time.Second},
		{"sine, quarter", sine, 0, 10 - 20/(2*math.Pi), 500 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := mustNew(t, tt.plan)
			if got := s.Wait(tt.elapsed, tt.hits); (got - tt.want).Abs() > near {
				t.Errorf("wait %v, want %v", got, tt.want)
			}
		})
	}
}

// plans are one of each profile, upwards and downwards.
func plans() []Plan {
	var all []Plan
	for _, profile := range []Profile{Constant, Ramp, Step, Spike, Sine} {
		for _, rates := range [][2]float64{{70, 900}, {900, 70}} {
			p := Plan{Rate: rates[0], Peak: rates[1], Profile: profile, Steps: 5, Period: 3 * time.Second, Warmup: time.Second, Duration: 10 * time.Second}
			if profile == Constant {
				p.Peak = 0
			}
			all = append(all, p)
		}
	}
	return all
}

func TestAtIsTheInverseOfHits(t *testing.T) {
	for _, p := range plans() {
		s := mustNew(t, p)
		total := s.Hits(s.Duration())
		for i := range 1000 {
			h := total * float64(i) / 1000
			if back := s.Hits(s.At(h)); math.Abs(back-h) > 1e-5 {
				t.Fatalf("%s %g to %g: %g requests are due at %v, but %g are due until then", p.Profile, p.Rate, p.Peak, h, s.At(h), back)
			}
		}
		if s.At(total) < s.Duration() {
			t.Errorf("%s: ends at %v", p.Profile, s.At(total))
		}
	}
}

func TestTimesFollowTheCurve(t *testing.T) {
	for _, p := range plans() {
		for _, arrivals := range []Arrivals{Even, Poisson} {
			p.Arrivals, p.Seed = arrivals, 1
			s := mustNew(t, p)
			times := slices.Collect(s.Times())
			if !slices.IsSorted(times) || times[0] < 0 || times[len(times)-1] >= s.Duration() {
				t.Fatalf("%s, %s: %v to %v", p.Profile, arrivals, times[0], times[len(times)-1])
			}
			for i, at := range times {
				off := float64(i) - s.Hits(at)
				// A sum of n exponential gaps has the standard deviation √n.
				limit := 1e-4
				if arrivals == Poisson {
					limit = 5*math.Sqrt(float64(i+1)) + 1
				}
				if math.Abs(off) > limit {
					t.Fatalf("%s, %s: request %d at %v is %g off", p.Profile, arrivals, i, at, off)
				}
			}
		}
	}
}

func TestConstantCounts(t *testing.T) {
	if n := len(slices.Collect(mustNew(t, Plan{Rate: 500, Duration: 10 * time.Second}).Times())); n != 5000 {
		t.Errorf("%d requests", n)
	}
	for range mustNew(t, Plan{Rate: 500, Duration: 10 * time.Second}).Times() {
		break // it must end here
	}
}

func TestPoissonGapsAreExponential(t *testing.T) {
	p := Plan{Rate: 1000, Arrivals: Poisson, Duration: 20 * time.Second, Seed: 7}
	times := slices.Collect(mustNew(t, p).Times())
	var short, long int
	for i := 1; i < len(times); i++ {
		switch gap := times[i] - times[i-1]; {
		case gap < 693147*time.Nanosecond: // ln 2 of the mean: half of all gaps
			short++
		case gap > 3*ms: // e⁻³ of them
			long++
		}
	}
	n := float64(len(times) - 1)
	if math.Abs(float64(short)/n-0.5) > 0.02 || math.Abs(float64(long)/n-math.Exp(-3)) > 0.01 {
		t.Errorf("of %v gaps %d are short and %d long", n, short, long)
	}
	if again := slices.Collect(mustNew(t, p).Times()); !slices.Equal(times, again) {
		t.Error("the same seed gave other times")
	}
	p.Seed++
	if other := slices.Collect(mustNew(t, p).Times()); slices.Equal(times, other) {
		t.Error("another seed gave the same times")
	}
}

func TestValidate(t *testing.T) {
	second := time.Second
	tests := map[string]Plan{
		"rate 0":           {Duration: second},
		"rate -1":          {Rate: -1, Duration: second},
		"rate NaN":         {Rate: math.NaN(), Duration: second},
		"rate 2e+06":       {Rate: 2e6, Duration: second},
		"no peak":          {Rate: 1, Peak: 2, Duration: second},
		"needs a peak":     {Rate: 1, Profile: Ramp, Duration: second},
		"unknown profile":  {Rate: 1, Profile: "cliff", Duration: second},
		"unknown arrivals": {Rate: 1, Arrivals: "herd", Duration: second},
		"1 steps":          {Rate: 1, Peak: 2, Profile: Step, Steps: 1, Duration: second},
		"does not fit":     {Rate: 1, Peak: 2, Profile: Spike, SpikeFor: 700 * ms, Duration: second},
		"period":           {Rate: 1, Peak: 2, Profile: Sine, Period: -1, Duration: second},
		"duration 0s":      {Rate: 1},
	}
	for want, p := range tests {
		if s, err := New(p); err == nil || !strings.Contains(err.Error(), want) || s != nil {
			t.Errorf("%s: got %v", want, err)
		}
	}
	if s, err := New(Plan{Rate: 300_000, Profile: Spike, Duration: second}); err == nil || s != nil {
		t.Error("five times the rate is more than the highest one")
	}
	if p := (Plan{Rate: 1, Peak: 5}); p.MaxRate() != 5 {
		t.Errorf("max rate %v", p.MaxRate())
	}
}

func TestASpikeIsFiveTimesTheRate(t *testing.T) {
	s := mustNew(t, Plan{Rate: 10, Profile: Spike, Warmup: time.Second, Duration: 10 * time.Second})
	if peak := s.Plan().Peak; peak != 50 {
		t.Errorf("peak %g", peak)
	}
	from, to := s.Plan().SpikeWindow()
	if from != 5*time.Second || to != 7*time.Second {
		t.Errorf("from %v to %v", from, to)
	}
	if due := s.Hits(to) - s.Hits(from); math.Abs(due-100) > 1e-9 {
		t.Errorf("%g requests are due in the spike", due)
	}
	if s := mustNew(t, Plan{Rate: 10, Peak: 20, Profile: Spike, SpikeFor: ms, Duration: 10 * time.Second}); s.Plan().Peak != 20 {
		t.Error("a peak that was given is not kept")
	}
	if from, to := (Plan{Rate: 1, Profile: Sine, Duration: time.Second}).SpikeWindow(); from != 0 || to != 0 {
		t.Errorf("a sine has a spike from %v to %v", from, to)
	}
}
