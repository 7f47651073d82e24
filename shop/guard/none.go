package guard

import (
	"context"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"
)

// none protects nothing. BROKEN wherever two orders run at once: both read the
// same stock, both write the same rest, and one unit is sold twice. The
// transaction does not help: READ COMMITTED lets both of them read.
type none struct{ db *store.Store }

func openNone(_ context.Context, d Deps) (Guard, error) { return none{d.Store}, nil }

func (g none) Place(ctx context.Context, req order.Request) (order.Receipt, error) {
	tx, err := g.db.Begin(ctx)
	if err != nil {
		return order.Receipt{}, err
	}
	defer tx.Release(ctx)
	return readCheckWrite(ctx, tx, req, nil)
}

func (none) Close() error { return nil }

// readCheckWrite sells in four steps. Between the read and the commit another
// order may do the same; mutex and redlock put a lock around all four.
// beforeCommit, where given, can still call it off.
func readCheckWrite(ctx context.Context, tx *store.Tx, req order.Request, beforeCommit func() error) (order.Receipt, error) {
	product, err := tx.Product(ctx, req.ProductID) // SELECT
	if err != nil {
		return order.Receipt{}, err
	}
	return checkWrite(ctx, tx, req, product, beforeCommit)
}

// checkWrite is the part after the read.
func checkWrite(ctx context.Context, tx *store.Tx, req order.Request, product order.Product, beforeCommit func() error) (order.Receipt, error) {
	if err := product.Check(req); err != nil {
		return order.Receipt{}, err
	}
	receipt, err := tx.Write(ctx, req, product, product.Stock-req.Quantity) // UPDATE, INSERT
	if err != nil {
		return order.Receipt{}, err
	}
	if beforeCommit != nil {
		if err := beforeCommit(); err != nil {
			return order.Receipt{}, err
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return order.Receipt{}, err
	}
	return receipt, nil
}
