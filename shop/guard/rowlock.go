package guard

import (
	"context"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"
)

// rowlock lets the database hold the lock: SELECT … FOR UPDATE makes every
// other order for the product wait, whichever process it is in, until COMMIT.
// A holder that dies frees the row with its session.
type rowlock struct{ db *store.Store }

func openRowlock(_ context.Context, d Deps) (Guard, error) { return rowlock{d.Store}, nil }

func (g rowlock) Place(ctx context.Context, req order.Request) (order.Receipt, error) {
	tx, err := g.db.Begin(ctx)
	if err != nil {
		return order.Receipt{}, err
	}
	defer tx.Release(ctx)
	product, err := tx.LockProduct(ctx, req.ProductID)
	if err != nil {
		return order.Receipt{}, err
	}
	return checkWrite(ctx, tx, req, product, nil)
}

func (rowlock) Close() error { return nil }
