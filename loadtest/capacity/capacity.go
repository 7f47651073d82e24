// Package capacity finds the highest rate that a service holds within an objective, and says for how many daily users
// that is enough.
//
//	start ──► double while it holds, halve while it does not ──► a bracket: held below, missed above
//	      ──► try the middle again and again, until the bracket is narrow ──► repeat the lower end, to confirm it
//
// The search is pure: it asks a function for the verdict on a rate, and knows neither clock nor network.
package capacity

import (
	"errors"
	"fmt"
	"math"
)

// Verdict is what a probe says of a rate.
type Verdict uint8

// The verdicts.
const (
	Held   Verdict = iota // the objective was met
	Missed                // it was not
	Void                  // the generator could not keep the schedule: nobody knows
)

// String returns the verdict as reports spell it.
func (v Verdict) String() string {
	return [...]string{"held", "missed", "void"}[v]
}

// Limits bound a search. All are required but Confirmations and Enough.
type Limits struct {
	Start         float64 // the first rate to try, per second
	Min, Max      float64
	Precision     float64 // the search ends when both ends of the bracket are within this share, such as 0.05
	Confirmations int     // how often the result must hold again; 0 means 1

	// Enough is asked before every probe but the first. Where it says yes the search ends with what is known. nil never does.
	Enough func() bool
}

// Found is the result of a search.
type Found struct {
	Rate     float64 // the highest rate that was confirmed; 0: not even Min was held, or Unfinished before one was
	Missed   float64 // the lowest rate above it that was not held; 0: there was none
	Limited  bool    // the limit above was that of the generator, or Max: the service may hold more
	Confirms int     // how often Rate held again

	// Unfinished says that Enough ended the search: Rate held once, and more may be held.
	Unfinished bool
}

// errEnough ends a search.
var errEnough = errors.New("enough was tried")

// Phase names what a probe is for.
type Phase string

// The phases.
const (
	Bracketing Phase = "bracket"
	Bisecting  Phase = "bisect"
	Confirming Phase = "confirm"
)

// Validate returns an error that says in one sentence what is wrong with the limits, or nil.
func (l Limits) Validate() error {
	switch {
	case !(l.Min > 0) || l.Max < l.Min || math.IsInf(l.Max, 1):
		return fmt.Errorf("the rates %g to %g are no range above 0", l.Min, l.Max)
	case !(l.Start >= l.Min) || l.Start > l.Max:
		return fmt.Errorf("the first rate %g is not between %g and %g", l.Start, l.Min, l.Max)
	case !(l.Precision >= 0.01) || l.Precision > 1:
		return errors.New("the precision must be between 1 % and 100 %")
	case l.Confirmations < 0:
		return errors.New("the number of confirmations cannot be negative")
	}
	return nil
}

// search is one search under way.
type search struct {
	Limits
	probe  func(rate float64, phase Phase) (Verdict, error)
	held   float64   // the highest rate that held; 0: none
	missed float64   // the lowest one above it that did not; 0: none
	void   bool      // the verdict on missed was Void
	all    []float64 // every rate that held once
	begun  bool
}

// Search probes rates until it has found the capacity. Each probe blocks for as long as the caller's function does; its
// error ends the search. A rate on which a probe is void is tried once more, since the generator may have been disturbed
// by chance, and then counts as missed.
func Search(l Limits, probe func(rate float64, phase Phase) (Verdict, error)) (Found, error) {
	if err := l.Validate(); err != nil {
		return Found{}, err
	}
	if l.Confirmations == 0 {
		l.Confirmations = 1
	}
	s := &search{Limits: l, probe: probe}
	found, err := s.find()
	if errors.Is(err, errEnough) {
		return s.unfinished(), nil
	}
	return found, err
}

func (s *search) find() (Found, error) {
	if err := s.bracket(); err != nil || s.held == 0 {
		return Found{Missed: s.missed, Limited: s.void}, err
	}
	if err := s.bisect(); err != nil {
		return Found{}, err
	}
	return s.confirm()
}

// unfinished returns the highest rate that held below the lowest one that did not.
func (s *search) unfinished() Found {
	f := Found{Missed: s.missed, Limited: s.void, Unfinished: true}
	for _, rate := range s.all {
		if s.missed == 0 || rate < s.missed {
			f.Rate = max(f.Rate, rate)
		}
	}
	return f
}

// try asks for the verdict on a rate and moves an end of the bracket there.
func (s *search) try(rate float64, phase Phase) (Verdict, error) {
	if s.begun && s.Enough != nil && s.Enough() {
		return Void, errEnough
	}
	s.begun = true
	verdict, err := s.probe(rate, phase)
	if err == nil && verdict == Void {
		verdict, err = s.probe(rate, phase)
	}
	if err != nil {
		return verdict, err
	}
	if verdict == Held {
		s.held = rate
		s.all = append(s.all, rate)
	} else {
		s.missed, s.void = rate, verdict == Void
	}
	return verdict, nil
}

// bracket goes up from Start while the objective is met, or else down until it is.
func (s *search) bracket() error {
	verdict, err := s.try(s.Start, Bracketing)
	for err == nil && verdict == Held && s.held < s.Max {
		verdict, err = s.try(min(2*s.held, s.Max), Bracketing)
	}
	for err == nil && s.held == 0 && s.missed > s.Min {
		_, err = s.try(max(s.missed/2, s.Min), Bracketing)
	}
	return err
}

// bisect halves the bracket on a logarithmic scale, since precision is a share.
func (s *search) bisect() error {
	for s.missed > 0 && s.missed/s.held > 1+s.Precision {
		if _, err := s.try(math.Sqrt(s.held*s.missed), Bisecting); err != nil {
			return err
		}
	}
	return nil
}

// confirm repeats the rate that held. One that does not hold again was luck: the next lower one is tried instead.
func (s *search) confirm() (Found, error) {
	confirmed := 0
	for rate := s.held; ; {
		verdict, err := s.try(rate, Confirming)
		switch {
		case err != nil:
			return Found{}, err
		case verdict == Held:
			confirmed++
		case rate <= s.Min:
			return Found{Missed: s.missed, Limited: s.void}, nil
		default:
			confirmed, rate = 0, max(rate/(1+s.Precision), s.Min)
		}
		if confirmed == s.Confirmations {
			return Found{Rate: rate, Missed: s.missed, Limited: s.missed == 0 || s.void, Confirms: confirmed}, nil
		}
	}
}
