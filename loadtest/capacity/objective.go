package capacity

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Objective is what a service has to hold: upper bounds for its figures.
type Objective []Bound

// Bound is one of them.
type Bound struct {
	Name  string  // see latencies, or "failed"
	Limit float64 // milliseconds, or a share
}

// failed is the share of orders that were due and not accepted.
const failed = "failed"

// latencies are the names of response times.
var latencies = []string{"mean", "p50", "p90", "p99", "p99.9", "max"}

// Figures are what a probe has measured.
type Figures struct {
	LatencyMS map[string]*float64 // response times by name; nil: too few orders to tell
	Failed    float64             // share
}

// ParseObjective reads bounds such as "p99=50ms,failed=0.1%".
func ParseObjective(text string) (Objective, error) {
	var o Objective
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return nil, fmt.Errorf("objective %q: write bounds such as p99=50ms,failed=0.1%%", text)
		}
		limit, err := parseLimit(strings.TrimSpace(name), strings.TrimSpace(value))
		if err != nil {
			return nil, err
		}
		for _, other := range o {
			if other.Name == limit.Name {
				return nil, fmt.Errorf("objective %q: %s is there twice", text, limit.Name)
			}
		}
		o = append(o, limit)
	}
	return o, nil
}

func parseLimit(name, value string) (Bound, error) {
	if name == failed {
		percent, isPercent := strings.CutSuffix(value, "%")
		share, err := strconv.ParseFloat(percent, 64)
		if err != nil || !isPercent || !(share >= 0 && share <= 100) {
			return Bound{}, fmt.Errorf("objective failed=%s: write a share such as 0.1%%", value)
		}
		return Bound{Name: failed, Limit: share / 100}, nil
	}
	for _, known := range latencies {
		if known == name {
			d, err := time.ParseDuration(value)
			if err != nil || d <= 0 {
				return Bound{}, fmt.Errorf("objective %s=%s: write a duration such as 50ms", name, value)
			}
			return Bound{Name: name, Limit: float64(d) / float64(time.Millisecond)}, nil
		}
	}
	return Bound{}, fmt.Errorf("objective %q: there is %s and %s", name, strings.Join(latencies, ", "), failed)
}

// String returns the objective as ParseObjective reads it.
func (o Objective) String() string {
	var parts []string
	for _, b := range o {
		parts = append(parts, b.Name+"="+b.text(b.Limit))
	}
	return strings.Join(parts, ",")
}

func (b Bound) text(value float64) string {
	short := func(x float64) string { return strconv.FormatFloat(math.Round(1000*x)/1000, 'f', -1, 64) }
	if b.Name == failed {
		return short(100*value) + "%"
	}
	return short(value) + "ms"
}

// Judge returns whether the figures meet the objective, and if not, which bounds they miss.
func (o Objective) Judge(f Figures) (held bool, why string) {
	var missed []string
	for _, b := range o {
		value := &f.Failed
		if b.Name != failed {
			value = f.LatencyMS[b.Name]
		}
		switch {
		case value == nil:
			missed = append(missed, "too few orders for a "+b.Name)
		case *value > b.Limit:
			missed = append(missed, b.Name+" "+b.text(*value))
		}
	}
	return len(missed) == 0, strings.Join(missed, ", ")
}

// Orders returns how many orders the finest bound needs: ten of them must lie beyond it.
func (o Objective) Orders() int {
	need := map[string]int{"p90": 100, "p99": 1000, "p99.9": 10000}
	most := 1
	for _, b := range o {
		most = max(most, need[b.Name])
	}
	return most
}
