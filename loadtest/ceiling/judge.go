package ceiling

import (
	"slices"

	"example.com/flashsale/loadtest/report"
)

// Readings are the ceilings that were measured at one time, per second.
type Readings map[Kind]float64

// Session collects all readings of a session.
type Session map[Kind][]float64

// Kinds returns the ceilings that are measured beside a run with that guard: HTTP, the single statement, which every
// reader knows, and what bounds the guard. A guard that is not known is taken for one that needs a transaction.
func Kinds(guard string) []Kind {
	switch guard {
	case "conditional", "noop":
		return []Kind{HTTP, Single}
	case "batch":
		return []Kind{HTTP, Single, Batch}
	default:
		return []Kind{HTTP, Single, Transaction}
	}
}

// Bounds returns those of Kinds that a run with that guard cannot exceed. The database's are those of one hot product;
// with several, orders of different products commit side by side, and HTTP alone bounds them.
func Bounds(guard string, products int) []Kind {
	switch {
	case products > 1 || guard == "noop":
		return []Kind{HTTP}
	case guard == "conditional":
		return []Kind{HTTP, Single}
	case guard == "batch":
		return []Kind{HTTP, Batch}
	default:
		return []Kind{HTTP, Transaction}
	}
}

// Ratios relates a rate in orders per second to each ceiling that was read both before and after it, in the order of
// kinds. A ceiling that was 0 is left out: nothing can be said.
func Ratios(rate float64, kinds []Kind, before, after Readings) []report.CeilingRatio {
	var out []report.CeilingRatio
	for _, kind := range kinds {
		low, high := min(before[kind], after[kind]), max(before[kind], after[kind])
		if low <= 0 {
			continue
		}
		out = append(out, report.CeilingRatio{
			Name: string(kind), BeforePerSecond: before[kind], AfterPerSecond: after[kind],
			Ratio: rate / ((low + high) / 2), RatioMin: rate / high, RatioMax: rate / low,
		})
	}
	return out
}

// Lowest returns the ratio to the lowest ceiling among kinds, or nil when there is none.
func Lowest(ratios []report.CeilingRatio, kinds []Kind) *report.CeilingRatio {
	var lowest *report.CeilingRatio
	for i := range ratios {
		r := &ratios[i]
		if slices.Contains(kinds, Kind(r.Name)) && (lowest == nil || r.Mean() < lowest.Mean()) {
			lowest = r
		}
	}
	if lowest == nil {
		return nil
	}
	return new(*lowest)
}

// Judge fills in the run's ceilings from what was read before and after it.
func Judge(run *report.Run, before, after Readings) {
	guard := string(run.Guard)
	run.Ceilings = Ratios(run.OrdersPerSecond, Kinds(guard), before, after)
	run.Ceiling = Lowest(run.Ceilings, Bounds(guard, run.Settings.Products))
}

// Add takes readings over.
func (s Session) Add(r Readings) {
	for kind, rate := range r {
		s[kind] = append(s[kind], rate)
	}
}

// Ceilings summarises the session. connections returns with how many database connections a kind was measured, 0 where
// that does not apply.
func (s Session) Ceilings(connections func(Kind) int) report.Ceilings {
	sample := func(kind Kind) *report.Sample {
		sample := report.NewSample(s[kind])
		if n := connections(kind); sample != nil && n > 0 {
			sample.Connections = new(n)
		}
		return sample
	}
	return report.Ceilings{
		HTTPNoop: sample(HTTP), HotRowSingle: sample(Single), HotRowTransaction: sample(Transaction), HotRowBatch: sample(Batch),
	}
}
