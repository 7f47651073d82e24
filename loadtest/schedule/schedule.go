// Package schedule says when the requests of an open model are due: requests that come whether or not the earlier ones
// were answered, as the customers of a shop do.
//
//	Plan ── rate over time ──► curve: pieces whose integral has an inverse
//	                              │
//	  hits 0, 1, 2, … (constant)  ├──► At(hits): when this one is due
//	  or exponential gaps (Poisson)
//
// Everything is a pure function of the plan. Nothing here looks at a clock or waits.
package schedule

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"time"
)

// Profile names how the rate changes in the course of a run.
type Profile string

// The profiles. Each begins at Plan.Rate, which is also the rate of the warm-up.
const (
	Constant Profile = "constant" // Rate all the time
	Ramp     Profile = "ramp"     // in a straight line from Rate to Peak
	Step     Profile = "step"     // from Rate to Peak in Steps stairs of equal length and height
	Spike    Profile = "spike"    // Rate; from two fifths of the run on Peak, for SpikeFor; then Rate again
	Sine     Profile = "sine"     // a wave between Rate and Peak, Period from one trough to the next
)

// Arrivals names how single requests are spread at a given rate.
type Arrivals string

// The arrivals.
const (
	Even    Arrivals = "constant" // one after every 1/rate
	Poisson Arrivals = "poisson"  // at random and independently of each other, as real visitors come
)

// Defaults and bounds of a Plan.
const (
	DefaultSteps = 2
	MaxRate      = 1_000_000 // per second
	maxSteps     = 1000
	// DefaultSpikeFactor is how many times Rate the peak of a Spike is: an overload that no service has spare capacity for.
	DefaultSpikeFactor = 5

	spikeStart  = 0.4 // part of the measured time
	spikeLength = 0.2 // likewise; so as much time is left to see the recovery as there was before
)

// Plan describes a schedule. Rate and Duration are required.
type Plan struct {
	Rate     float64 // requests per second at the start
	Peak     float64 // of every profile but Constant; 0 means DefaultSpikeFactor × Rate for Spike
	Profile  Profile // "" means Constant
	Arrivals Arrivals
	Steps    int           // of Step; 0 means DefaultSteps
	SpikeFor time.Duration // of Spike; 0 means a fifth of Duration
	Period   time.Duration // of Sine; 0 means Duration
	Warmup   time.Duration // at Rate, before the profile begins
	Duration time.Duration // of the profile
	Seed     uint64        // of Poisson
}

// Validate returns an error that says in one sentence what is wrong with the plan, or nil.
func (p Plan) Validate() error {
	p = p.filled()
	switch p.Profile {
	case "", Constant, Ramp, Step, Spike, Sine:
	default:
		return fmt.Errorf("unknown profile %q: use constant, ramp, step, spike or sine", p.Profile)
	}
	flat := p.Profile == "" || p.Profile == Constant
	switch {
	case p.Arrivals != "" && p.Arrivals != Even && p.Arrivals != Poisson:
		return fmt.Errorf("unknown arrivals %q: use constant or poisson", p.Arrivals)
	case !inRange(p.Rate):
		return fmt.Errorf("rate %g: use a number above 0, up to %d per second", p.Rate, MaxRate)
	case flat && p.Peak != 0:
		return errors.New("a constant rate has no peak: choose the profile ramp, step, spike or sine")
	case !flat && !inRange(p.Peak):
		return fmt.Errorf("profile %s needs a peak above 0, up to %d per second", p.Profile, MaxRate)
	case p.Steps < 0 || p.Steps == 1 || p.Steps > maxSteps:
		return fmt.Errorf("%d steps: use 2 to %d", p.Steps, maxSteps)
	case p.Duration <= 0 || p.Warmup < 0:
		return fmt.Errorf("duration %v after a warm-up of %v: the first must be positive, the second not negative", p.Duration, p.Warmup)
	case p.SpikeFor < 0 || p.Profile == Spike && p.spikeAt()+p.SpikeFor > p.Duration:
		return fmt.Errorf("a spike of %v does not fit: it begins at %v of %v", p.SpikeFor, p.spikeAt(), p.Duration)
	case p.Period < 0:
		return fmt.Errorf("period %v: it must be positive", p.Period)
	}
	return nil
}

func inRange(rate float64) bool { return rate > 0 && rate <= MaxRate } // NaN is not

// filled returns the plan with the peak that a spike has by default.
func (p Plan) filled() Plan {
	if p.Profile == Spike && p.Peak == 0 {
		p.Peak = DefaultSpikeFactor * p.Rate
	}
	return p
}

func (p Plan) spikeAt() time.Duration { return time.Duration(spikeStart * float64(p.Duration)) }

func (p Plan) spikeFor() time.Duration {
	if p.SpikeFor == 0 {
		return time.Duration(spikeLength * float64(p.Duration))
	}
	return p.SpikeFor
}

// SpikeWindow returns when a Spike begins and ends, since the start of the warm-up. Both are 0 for other profiles.
func (p Plan) SpikeWindow() (from, to time.Duration) {
	if p.Profile != Spike {
		return 0, 0
	}
	from = p.Warmup + p.spikeAt()
	return from, from + p.spikeFor()
}

// MaxRate returns the highest rate that the plan reaches, per second.
func (p Plan) MaxRate() float64 { return max(p.Rate, p.Peak) }

// Schedule is a plan ready to be followed. Its methods may be called concurrently.
type Schedule struct {
	plan  Plan
	curve curve
	total time.Duration
}

// New returns the schedule of a plan, or the error of Plan.Validate.
func New(p Plan) (*Schedule, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	p = p.filled()
	s := &Schedule{plan: p, total: p.Warmup + p.Duration}
	if p.Warmup > 0 {
		s.curve.add(linear{length: p.Warmup.Seconds(), from: p.Rate, to: p.Rate})
	}
	for _, piece := range p.pieces() {
		s.curve.add(piece)
	}
	return s, nil
}

// Plan returns what the schedule was made from, with the peak of a spike filled in.
func (s *Schedule) Plan() Plan { return s.plan }

// Duration returns how long the schedule lasts, warm-up included.
func (s *Schedule) Duration() time.Duration { return s.total }

// Hits returns how many requests are due up to elapsed: the integral of the rate.
func (s *Schedule) Hits(elapsed time.Duration) float64 {
	return s.curve.hits(min(max(elapsed, 0), s.total).Seconds())
}

// At returns when the given number of requests have become due: the inverse of Hits. After the last one it returns
// more than Duration.
func (s *Schedule) At(hits float64) time.Duration {
	return time.Duration(math.Round(s.curve.at(hits) * float64(time.Second)))
}

// Wait returns how long to wait at elapsed until the next request, when hits of them were sent before. It is 0 when that
// one is due already, and negative never.
func (s *Schedule) Wait(elapsed time.Duration, hits float64) time.Duration {
	return max(s.At(hits)-elapsed, 0)
}

// Times yields when each request is due, in order. The same plan gives the same times.
//
// Poisson arrivals of a rate that changes are those of rate 1, with exponential gaps, sent through the inverse of the
// integral (E. Çinlar, Introduction to Stochastic Processes, 1975, section 4.7). So the same rule serves both arrivals.
func (s *Schedule) Times() iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		gap := s.gaps()
		hits := 0.0
		if s.plan.Arrivals == Poisson {
			hits = gap()
		}
		for ; ; hits += gap() {
			if at := s.At(hits); at >= s.total || !yield(at) {
				return
			}
		}
	}
}

// gaps returns a source of distances between two requests, in requests.
func (s *Schedule) gaps() func() float64 {
	if s.plan.Arrivals != Poisson {
		return func() float64 { return 1 }
	}
	const stream = 0 // users draw from streams 1, 2, …
	rng := rand.New(rand.NewPCG(s.plan.Seed, stream))
	return rng.ExpFloat64
}
