package schedule

import (
	"math"
	"sort"
	"time"
)

// piece is a stretch of a rate curve: seconds since its start, and requests since its start.
type piece interface {
	seconds() float64
	hits(t float64) float64 // integral of the rate from 0 to t
	at(h float64) float64   // the inverse of hits
}

// curve is pieces in a row.
type curve struct {
	pieces []piece
	start  []float64 // start[i] is when pieces[i] begins; one more for the end
	before []float64 // before[i] is how many requests are due before pieces[i]; likewise
}

func (c *curve) add(p piece) {
	if len(c.pieces) == 0 {
		c.start, c.before = []float64{0}, []float64{0}
	}
	last := len(c.pieces)
	c.pieces = append(c.pieces, p)
	c.start = append(c.start, c.start[last]+p.seconds())
	c.before = append(c.before, c.before[last]+p.hits(p.seconds()))
}

func (c *curve) hits(t float64) float64 {
	i := within(c.start, t)
	return c.before[i] + c.pieces[i].hits(t-c.start[i])
}

// at is beyond the end where h is.
func (c *curve) at(h float64) float64 {
	if end := len(c.pieces); h >= c.before[end] {
		return c.start[end] + (h - c.before[end])
	}
	i := within(c.before, h)
	return c.start[i] + c.pieces[i].at(h-c.before[i])
}

// within returns the index of the piece in which x lies, by the borders of the pieces.
func within(borders []float64, x float64) int {
	i := sort.Search(len(borders), func(i int) bool { return borders[i] > x }) - 1
	return min(max(i, 0), len(borders)-2)
}

// linear is a rate that changes in a straight line.
type linear struct{ length, from, to float64 }

func (l linear) seconds() float64 { return l.length }

func (l linear) slope() float64 { return (l.to - l.from) / l.length }

func (l linear) hits(t float64) float64 { return l.from*t + l.slope()*t*t/2 }

// at solves slope/2·t² + from·t = h. This form of the solution is exact for a slope of 0 too, and never subtracts two
// numbers of equal size (W. H. Press et al., Numerical Recipes, 3rd edition, section 5.6).
func (l linear) at(h float64) float64 {
	root := math.Sqrt(max(l.from*l.from+2*l.slope()*h, 0))
	return 2 * h / (l.from + root)
}

// wave is a rate that swings between from, at its start, and to:
//
//	rate(t) = mean − swing·cos(2πt/period), with mean = (from+to)/2 and swing = (to−from)/2
//	hits(t) = mean·t − swing·period/2π·sin(2πt/period)
type wave struct{ length, period, from, to float64 }

func (w wave) seconds() float64 { return w.length }

func (w wave) mean() float64 { return (w.from + w.to) / 2 }

// depth is how far hits can be from a straight line.
func (w wave) depth() float64 { return (w.to - w.from) / 2 * w.period / (2 * math.Pi) }

func (w wave) hits(t float64) float64 {
	return w.mean()*t - w.depth()*math.Sin(2*math.Pi*t/w.period)
}

// at has no closed form (it is Kepler's equation). hits never falls and stays within depth of a straight line, so a
// bisection between these bounds always ends; this many halvings leave less than a nanosecond of any period.
func (w wave) at(h float64) float64 {
	const halvings = 50
	low := (h - math.Abs(w.depth())) / w.mean()
	high := (h + math.Abs(w.depth())) / w.mean()
	for range halvings {
		middle := (low + high) / 2
		if w.hits(middle) < h {
			low = middle
		} else {
			high = middle
		}
	}
	return max(high, 0)
}

// pieces returns the curve of the plan's profile.
func (p Plan) pieces() []piece {
	flat := func(length time.Duration, rate float64) piece {
		return linear{length: length.Seconds(), from: rate, to: rate}
	}
	switch p.Profile {
	case Ramp:
		return []piece{linear{length: p.Duration.Seconds(), from: p.Rate, to: p.Peak}}
	case Step:
		return p.stairs()
	case Spike:
		length := p.spikeFor()
		pieces := []piece{flat(p.spikeAt(), p.Rate), flat(length, p.Peak)}
		if after := p.Duration - p.spikeAt() - length; after > 0 {
			pieces = append(pieces, flat(after, p.Rate))
		}
		return pieces
	case Sine:
		period := p.Period
		if period == 0 {
			period = p.Duration
		}
		return []piece{wave{length: p.Duration.Seconds(), period: period.Seconds(), from: p.Rate, to: p.Peak}}
	default:
		return []piece{flat(p.Duration, p.Rate)}
	}
}

// stairs returns steps of equal length, the first at Rate and the last at Peak.
func (p Plan) stairs() []piece {
	steps := p.Steps
	if steps == 0 {
		steps = DefaultSteps
	}
	length := p.Duration.Seconds() / float64(steps)
	var pieces []piece
	for i := range steps {
		rate := p.Rate + (p.Peak-p.Rate)*float64(i)/float64(steps-1)
		pieces = append(pieces, linear{length: length, from: rate, to: rate})
	}
	return pieces
}
