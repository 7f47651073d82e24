package audit

import "slices"

// ledger joins the orders of one product with the attempts that asked for them. Only
// orders are indexed: of the attempts, which are far more, nothing is kept but what
// the report needs.
type ledger struct {
	snap    Snapshot
	entries map[string]*entry   // by key
	lost    map[string]struct{} // keys that were accepted and have no order
	refused int64               // units refused as out of stock that the stock left would have covered
}

// entry is all that is known of one key that has an order.
type entry struct {
	first      *Row
	more       []*Row // of the same key: only where the service is broken
	answered   bool   // some attempt was told that the order exists
	unknown    bool   // some attempt does not know
	refused    bool   // some attempt was told that there is no order
	mismatched bool
}

func newLedger(snap Snapshot) *ledger {
	l := &ledger{snap: snap, entries: make(map[string]*entry, len(snap.Orders)), lost: map[string]struct{}{}}
	entries := make([]entry, len(snap.Orders)) // one allocation instead of one for each
	for i := range snap.Orders {
		row := &snap.Orders[i]
		e := l.entries[row.Key]
		if e == nil {
			e = &entries[i]
			e.first = row
			l.entries[row.Key] = e
		} else {
			e.more = append(e.more, row)
		}
		e.mismatched = e.mismatched || !l.plausible(row)
	}
	return l
}

// plausible reports whether the order is one of this product at its price.
func (l *ledger) plausible(row *Row) bool {
	return row.ProductID == l.snap.ProductID &&
		(l.snap.PriceCents == 0 || row.TotalCents == row.Quantity*l.snap.PriceCents)
}

// enter takes one attempt into account.
func (l *ledger) enter(a Attempt) {
	e := l.entries[a.Key]
	switch {
	case e != nil:
		e.enter(a)
	case a.Class == Accepted || a.Class == Replayed:
		l.lost[a.Key] = struct{}{}
	case a.Class == Rejected && a.Code == CodeOutOfStock && a.Quantity <= l.snap.Left:
		l.refused += a.Quantity
	}
}

func (e *entry) enter(a Attempt) {
	switch a.Class {
	case Accepted, Replayed:
		e.answered = true
		e.mismatched = e.mismatched || !e.holds(a)
	case Unknown:
		e.unknown = true
		e.mismatched = e.mismatched || !e.first.fits(a)
	default:
		e.refused = true
	}
}

// holds reports whether one of the key's orders is what the receipt says.
func (e *entry) holds(a Attempt) bool {
	return e.first.matches(a) || slices.ContainsFunc(e.more, func(row *Row) bool { return row.matches(a) })
}

// matches reports whether the order is what the receipt says.
func (r *Row) matches(a Attempt) bool {
	return r.ID == a.OrderID && r.TotalCents == a.TotalCents && r.fits(a)
}

// fits reports whether the order is what was asked for.
func (r *Row) fits(a Attempt) bool {
	return r.UserID == a.UserID && r.ProductID == a.ProductID && r.Quantity == a.Quantity
}

// close returns the report over all that was entered.
func (l *ledger) close() Report {
	r := l.stock()
	r.LostOrders = int64(len(l.lost))
	for _, e := range l.entries {
		e.addTo(&r)
	}
	if !l.anyCancelled() {
		undersold := max(0, min(l.snap.Left, l.refused))
		r.Undersold = &undersold
	}
	r.Verdict = r.judge(l.snap.Settled)
	return r
}

// addTo counts the key's orders by what its attempts know of them. The surest
// knowledge decides: a client may be refused first and accepted later.
func (e *entry) addTo(r *Report) {
	orders := int64(1 + len(e.more))
	switch {
	case e.answered:
	case e.unknown:
		r.UnknownPlaced += orders
	case e.refused:
		r.PhantomOrders += orders
	default:
		r.ForeignOrders += orders
	}
	if e.mismatched {
		r.MismatchedOrders++
	}
}

// stock returns a report of what the database alone can tell, without a verdict.
func (l *ledger) stock() Report {
	r := Report{Initial: l.snap.Initial, Left: l.snap.Left}
	for _, row := range l.snap.Orders {
		if row.Status != Cancelled {
			r.Sold += row.Quantity
		}
	}
	r.Oversold = max(0, r.Sold-r.Initial)
	r.StockDrift = r.Sold + r.Left - r.Initial
	r.DuplicateOrders = int64(len(l.snap.Orders) - len(l.entries))
	return r
}

func (l *ledger) anyCancelled() bool {
	return slices.ContainsFunc(l.snap.Orders, func(row Row) bool { return row.Status == Cancelled })
}
