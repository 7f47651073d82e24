package attack

import (
	"math"
	"math/rand/v2"
	"sort"
)

// drawer draws indexes from 0 to n-1 by Zipf's law: the probability of index i is
// proportional to 1/(i+1)^skew. With skew 0 all are equally likely. (The standard
// library's Zipf needs an exponent above 1.) It may be used concurrently.
type drawer struct {
	upTo []float64 // upTo[i] is the probability of an index ≤ i; nil draws evenly
	n    int
}

func newDrawer(n int, skew float64) *drawer {
	d := &drawer{n: n}
	if skew == 0 || n == 1 {
		return d
	}
	d.upTo = make([]float64, n)
	sum := 0.0
	for i := range d.upTo {
		sum += math.Pow(float64(i+1), -skew)
		d.upTo[i] = sum
	}
	for i := range d.upTo {
		d.upTo[i] /= sum
	}
	return d
}

// next returns an index.
func (d *drawer) next(rng *rand.Rand) int {
	if d.upTo == nil {
		return rng.IntN(d.n)
	}
	// The last sum may be a rounding error below 1.
	return min(sort.SearchFloat64s(d.upTo, rng.Float64()), d.n-1)
}
