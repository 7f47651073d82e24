package runner

import (
	"context"
	"fmt"
	"iter"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/database"
)

// serverDeadline is how long a stage works on one request at most (its default), with a second to spare. A request of
// unknown outcome may still change the database until then.
const serverDeadline = 2*time.Second + time.Second

// settleAndAudit waits until nothing changes any more and compares the products with what the clients know.
func settleAndAudit(ctx context.Context, cfg Config, products []database.Product, result *attack.Result) (audit.Report, error) {
	return auditProducts(ctx, cfg.DB, cfg.Target.Stage(), products, result)
}

// auditProducts is settleAndAudit for the products of a stage of that name; "" is any service.
func auditProducts(ctx context.Context, db *database.DB, stage string, products []database.Product, result *attack.Result) (audit.Report, error) {
	how := database.Settling{AppName: stage}
	for outcome := range result.Outcomes() {
		if outcome.Class == attack.Unknown {
			how.Quiet = serverDeadline
			break
		}
	}
	snapshots, err := db.WaitAllSettled(ctx, products, how)
	if err != nil {
		return audit.Report{}, fmt.Errorf("read the products for the audit: %w", err)
	}
	return audit.Sum(audit.CheckAll(snapshots, attempts(result))...), nil
}

// attempts yields what the clients know.
func attempts(result *attack.Result) iter.Seq[audit.Attempt] {
	return func(yield func(audit.Attempt) bool) {
		for o := range result.Outcomes() {
			if !yield(attempt(o)) {
				return
			}
		}
	}
}

func attempt(o attack.Outcome) audit.Attempt {
	return audit.Attempt{
		Key: attack.KeyString(o.Key), UserID: o.UserID, ProductID: o.ProductID, Quantity: o.Quantity,
		Class: class(o.Class), Code: o.Code, OrderID: o.OrderID, TotalCents: o.TotalCents,
	}
}

// class translates: the auditor has words of its own, so that it depends on no client.
func class(c attack.Class) audit.Class {
	switch c {
	case attack.Accepted:
		return audit.Accepted
	case attack.Replayed:
		return audit.Replayed
	case attack.Rejected:
		return audit.Rejected
	case attack.Failed:
		return audit.Failed
	default:
		return audit.Unknown
	}
}
