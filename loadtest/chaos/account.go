package chaos

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

// serverDeadline is how long a stage works on one request at most (its default), with a second to spare. A request of
// unknown outcome may still change the database until then.
const serverDeadline = 2*time.Second + time.Second

// account writes what the buyers of a load that has ended know into f. lasted is how long the fault went on.
func (l *load) account(f *report.Fault, lasted time.Duration) {
	var accepts []time.Duration
	longest := time.Duration(0)
	for _, b := range l.buyers {
		f.Orders += b.orders
		f.Twice += b.twice
		f.Unanswered += b.unanswered
		longest = max(longest, b.longest)
		for _, o := range b.attempts {
			f.Requests++
			count(f, o)
			if o.Class == attack.Accepted {
				accepts = append(accepts, o.EndedAt())
			}
		}
	}
	f.Retried = f.Requests - f.Orders
	f.LongestWaitMS = milliseconds(longest)
	slices.Sort(accepts)
	within := 0
	for i, at := range accepts {
		if at <= lasted {
			within++
		}
		if i > 0 {
			f.LongestGapMS = max(f.LongestGapMS, milliseconds(at-accepts[i-1]))
		}
	}
	f.LoadPerSecond = float64(within) / lasted.Seconds()
}

func count(f *report.Fault, o attack.Outcome) {
	switch o.Class {
	case attack.Accepted:
		f.Accepted++
	case attack.Replayed:
		f.Replayed++
	case attack.Rejected:
		f.Rejected++
	case attack.Failed:
		f.Failed++
		f.ByCode[o.Code]++
	default:
		f.Unknown++
		f.ByCode[o.Code]++
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// check waits until the database rests and compares the product with what the buyers know.
func (l *load) check(ctx context.Context, db *database.DB, stage string, product database.Product, unknown bool) (audit.Report, error) {
	how := database.Settling{AppName: stage}
	if unknown {
		how.Quiet = serverDeadline
	}
	snapshots, err := db.WaitAllSettled(ctx, []database.Product{product}, how)
	if err != nil {
		return audit.Report{}, fmt.Errorf("read the product for the audit: %w", err)
	}
	return audit.Sum(audit.CheckAll(snapshots, l.knowledge())...), nil
}

// knowledge yields every attempt of every buyer.
func (l *load) knowledge() iter.Seq[audit.Attempt] {
	return func(yield func(audit.Attempt) bool) {
		for _, b := range l.buyers {
			for _, o := range b.attempts {
				a := audit.Attempt{
					Key: attack.KeyString(o.Key), UserID: o.UserID, ProductID: o.ProductID, Quantity: o.Quantity,
					Class: classes[o.Class], Code: o.Code, OrderID: o.OrderID, TotalCents: o.TotalCents,
				}
				if !yield(a) {
					return
				}
			}
		}
	}
}

// classes translates: the auditor has words of its own, so that it depends on no client.
var classes = map[attack.Class]audit.Class{
	attack.Accepted: audit.Accepted, attack.Replayed: audit.Replayed, attack.Rejected: audit.Rejected,
	attack.Failed: audit.Failed, attack.Unknown: audit.Unknown,
}
