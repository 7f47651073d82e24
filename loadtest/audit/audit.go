// Package audit compares what the clients of a run were told with what the database
// has, and says whether the two agree and whether more was sold than there was.
//
// It is pure: histories and snapshots in, a report out. It knows nothing of HTTP or
// SQL, and shares no code with the service, so that one bug cannot blind both.
//
// Orders are counted, never the stock alone: when two buyers read the same stock and
// both write it less one, one unit was sold twice and the stock looks right. Attempts
// and orders are joined by the idempotency key, which only their client knew.
package audit

import "iter"

// Row is one order as the database has it.
type Row struct {
	ID         int64
	Key        string // idempotency key
	UserID     int64
	ProductID  int64
	Quantity   int64
	TotalCents int64
	Status     string // "created" or "cancelled"
}

// Cancelled is the status of an order whose units went back.
const Cancelled = "cancelled"

// Snapshot is the state of one product after the run.
type Snapshot struct {
	ProductID  int64
	Initial    int64 // units before the run
	Left       int64 // units after it
	PriceCents int64 // of one unit; 0 where it is unknown
	Orders     []Row // all orders of the product
	Settled    bool  // nothing was still going on when it was taken
}

// Class is what the client concluded of an attempt.
type Class uint8

// The classes, as in the result file.
const (
	Accepted Class = iota // a new order, says the service
	Replayed              // an order that existed, says the service
	Rejected              // a valid no
	Failed                // certainly not placed
	Unknown               // may be placed
)

// CodeOutOfStock is the code of a refusal for want of stock.
const CodeOutOfStock = "out_of_stock"

// Attempt is one request and what its client knows of it. Several attempts may have
// the same key: a client that tries again.
type Attempt struct {
	Key        string // idempotency key
	UserID     int64
	ProductID  int64
	Quantity   int64
	Class      Class
	Code       string // of a refusal
	OrderID    int64  // of the receipt; Accepted and Replayed only
	TotalCents int64  // of the receipt
}

// Report is the result of an audit, in units or orders.
type Report struct {
	Initial          int64   `json:"initial"`
	Sold             int64   `json:"sold"` // units of orders that are not cancelled
	Left             int64   `json:"left"`
	Oversold         int64   `json:"oversold"`          // units sold beyond Initial
	Undersold        *int64  `json:"undersold"`         // units left though buyers were told there were none; nil when an order was cancelled
	StockDrift       int64   `json:"stock_drift"`       // Sold + Left - Initial: positive for lost updates, negative for vanished units
	LostOrders       int64   `json:"lost_orders"`       // accepted, but not in the database
	PhantomOrders    int64   `json:"phantom_orders"`    // failed or rejected, but in the database
	DuplicateOrders  int64   `json:"duplicate_orders"`  // beyond the first of their key
	ForeignOrders    int64   `json:"foreign_orders"`    // no attempt asked for them
	MismatchedOrders int64   `json:"mismatched_orders"` // differ from the receipt, the request or the price
	UnknownPlaced    int64   `json:"unknown_placed"`    // unknown to the client, and in the database: allowed
	Verdict          Verdict `json:"verdict"`
}

// StockReport is what the database alone can tell: fields as in Report.
type StockReport struct {
	Initial         int64   `json:"initial"`
	Sold            int64   `json:"sold"`
	Left            int64   `json:"left"`
	Oversold        int64   `json:"oversold"`
	StockDrift      int64   `json:"stock_drift"`
	DuplicateOrders int64   `json:"duplicate_orders"`
	Verdict         Verdict `json:"verdict"`
}

// Check compares a product's snapshot with the attempts of the run; attempts that
// were for another product are passed over. The attempts are read once and not kept.
// It may be called concurrently.
func Check(snap Snapshot, attempts iter.Seq[Attempt]) Report {
	return CheckAll([]Snapshot{snap}, attempts)[0]
}

// CheckAll is Check for several products with one reading of the attempts. It
// returns a report for each snapshot, in their order. There must be a snapshot for
// every product of the run, and one only: what is not in any is not judged.
func CheckAll(snaps []Snapshot, attempts iter.Seq[Attempt]) []Report {
	ledgers := make([]*ledger, len(snaps))
	byProduct := make(map[int64]*ledger, len(snaps))
	for i, snap := range snaps {
		ledgers[i] = newLedger(snap)
		byProduct[snap.ProductID] = ledgers[i]
	}
	for attempt := range attempts {
		if l := byProduct[attempt.ProductID]; l != nil {
			l.enter(attempt)
		}
	}
	reports := make([]Report, len(ledgers))
	for i, l := range ledgers {
		reports[i] = l.close()
	}
	return reports
}

// CheckStock audits a snapshot without its clients' side: whether the units add up
// and no key has two orders. It may be called concurrently.
func CheckStock(snap Snapshot) StockReport {
	r := newLedger(snap).stock()
	return StockReport{
		Initial:         r.Initial,
		Sold:            r.Sold,
		Left:            r.Left,
		Oversold:        r.Oversold,
		StockDrift:      r.StockDrift,
		DuplicateOrders: r.DuplicateOrders,
		Verdict:         r.judge(snap.Settled),
	}
}

// Sum adds the reports of several products. Its verdict is the worst of theirs, also
// where the sums look better (a drift of 1 and one of -1). Undersold is nil where one
// of theirs is. The sum of no report is Unsettled: nothing was audited.
func Sum(reports ...Report) Report {
	sum := Report{Undersold: new(int64), Verdict: OK}
	if len(reports) == 0 {
		sum.Verdict = Unsettled
	}
	for _, r := range reports {
		sum.Initial += r.Initial
		sum.Sold += r.Sold
		sum.Left += r.Left
		sum.Oversold += r.Oversold
		sum.StockDrift += r.StockDrift
		sum.LostOrders += r.LostOrders
		sum.PhantomOrders += r.PhantomOrders
		sum.DuplicateOrders += r.DuplicateOrders
		sum.ForeignOrders += r.ForeignOrders
		sum.MismatchedOrders += r.MismatchedOrders
		sum.UnknownPlaced += r.UnknownPlaced
		sum.Undersold = addKnown(sum.Undersold, r.Undersold)
		sum.Verdict = worse(sum.Verdict, r.Verdict)
	}
	return sum
}

// addKnown returns a + b, or nil where one of them is not known.
func addKnown(a, b *int64) *int64 {
	if a == nil || b == nil {
		return nil
	}
	sum := *a + *b
	return &sum
}
