package audit

import "slices"

// Verdict is the conclusion of an audit.
type Verdict string

// The verdicts.
const (
	Unsettled    Verdict = "unsettled"    // the snapshot never became stable; never a pass
	Inconsistent Verdict = "inconsistent" // clients and database disagree, or the units do not add up
	Oversold     Verdict = "oversold"     // more was sold than there was
	Undersold    Verdict = "undersold"    // units were left though buyers were told there were none
	OK           Verdict = "ok"
)

// severity orders the verdicts, the worst first.
var severity = []Verdict{Unsettled, Inconsistent, Oversold, Undersold, OK}

// worse returns the worse of two verdicts; one that is not known is worst of all.
func worse(a, b Verdict) Verdict {
	if slices.Index(severity, b) < slices.Index(severity, a) {
		return b
	}
	return a
}

// judge returns the verdict that the figures of r give: the first rule that applies.
// A drift comes after overselling, which explains it in most cases.
func (r *Report) judge(settled bool) Verdict {
	switch {
	case !settled:
		return Unsettled
	case r.LostOrders+r.PhantomOrders+r.DuplicateOrders+r.ForeignOrders+r.MismatchedOrders > 0:
		return Inconsistent
	case r.Oversold > 0:
		return Oversold
	case r.StockDrift != 0:
		return Inconsistent
	case r.Undersold != nil && *r.Undersold > 0:
		return Undersold
	}
	return OK
}
