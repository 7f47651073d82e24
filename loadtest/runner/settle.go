package runner

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/database"
)

// serverDeadline is how long a stage works on one request at most (its default), with a second to spare. A request of
// unknown outcome may still change the database until then.
const serverDeadline = 2*time.Second + time.Second

// settleAndAudit waits until nothing changes any more and compares each product with what the clients know.
func settleAndAudit(ctx context.Context, cfg Config, products []database.Product, result *attack.Result) (audit.Report, error) {
	snapshots, err := settle(ctx, cfg, products, result)
	if err != nil {
		return audit.Report{}, fmt.Errorf("read the products for the audit: %w", err)
	}
	reports := make([]audit.Report, len(snapshots))
	for i, snapshot := range snapshots {
		reports[i] = audit.Check(snapshot, attempts(result, snapshot.ProductID))
	}
	return audit.Sum(reports...), nil
}

// settle returns the products at rest. The wait for the first one is that of the stage, which is then idle; each of the
// others is at rest when two snapshots of it are equal.
func settle(ctx context.Context, cfg Config, products []database.Product, result *attack.Result) ([]audit.Snapshot, error) {
	how := database.Settling{AppName: cfg.Target.Stage()}
	for outcome := range result.Outcomes() {
		if outcome.Class == attack.Unknown {
			how.Quiet = serverDeadline
			break
		}
	}
	first, err := cfg.DB.WaitSettled(ctx, products[0], how)
	if err != nil || len(products) == 1 {
		return []audit.Snapshot{first}, err
	}
	before, err := snapshotAll(ctx, cfg.DB, products)
	if err != nil {
		return nil, err
	}
	after, err := snapshotAll(ctx, cfg.DB, products)
	if err != nil {
		return nil, err
	}
	for i := range after {
		after[i].Settled = first.Settled && before[i].Left == after[i].Left && slices.Equal(before[i].Orders, after[i].Orders)
	}
	return after, nil
}

// snapshotAll reads the products, some at a time: each of them costs a scan of the run's orders.
func snapshotAll(ctx context.Context, db *database.DB, products []database.Product) ([]audit.Snapshot, error) {
	snapshots := make([]audit.Snapshot, len(products))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, product := range products {
		group.Go(func() (err error) {
			snapshots[i], err = db.Snapshot(ctx, product)
			return err
		})
	}
	return snapshots, group.Wait()
}

// attempts yields what the clients know of one product.
func attempts(result *attack.Result, productID int64) iter.Seq[audit.Attempt] {
	return func(yield func(audit.Attempt) bool) {
		for o := range result.Outcomes() {
			if o.ProductID == productID && !yield(attempt(o)) {
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
