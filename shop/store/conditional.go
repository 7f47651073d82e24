package store

import (
	"context"
	"errors"

	"example.com/flashsale/shop/order"

	"github.com/jackc/pgx/v5"
)

// takeAndInsert is a whole order in one statement and so in one transaction:
// the row lock that UPDATE takes makes the others wait, and they test the
// condition again on the row as it was committed (READ COMMITTED).
const takeAndInsert = `
WITH taken AS (
	UPDATE products SET stock = stock - $3
	WHERE id = $2 AND stock >= $3 AND ($4::bigint = 0 OR price_cents = $4)
	RETURNING price_cents
)
INSERT INTO orders (user_id, product_id, quantity, total_cents, status, idempotency_key, request_hash)
SELECT $1, $2, $3, price_cents * $3, 'created', $5, $6 FROM taken
RETURNING id, total_cents, created_at`

// Take takes the stock and writes the order if there is enough, in one round
// trip. Otherwise nothing was written, and the error says why.
func (s *Store) Take(ctx context.Context, req order.Request) (order.Receipt, error) {
	for range 3 {
		r, err := s.take(ctx, req)
		if !errors.Is(err, pgx.ErrNoRows) {
			return r, classifyCommit("take stock", err)
		}
		// No row: say why. If by now there is no reason (stock came back), try again.
		p, err := s.Product(ctx, req.ProductID)
		if err != nil {
			return r, err
		}
		if err := p.Check(req); err != nil {
			return r, err
		}
	}
	return order.Receipt{}, order.Overload("the stock of this product keeps changing, try again")
}

func (s *Store) take(ctx context.Context, req order.Request) (order.Receipt, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return order.Receipt{}, classifyAcquire(err)
	}
	defer conn.Release()
	r := order.Receipt{Status: order.StatusCreated}
	hash := req.Hash()
	err = conn.QueryRow(ctx, takeAndInsert,
		req.UserID, req.ProductID, req.Quantity, req.PriceCents, req.Key, hash[:]).
		Scan(&r.OrderID, &r.TotalCents, &r.CreatedAt)
	return r, err
}
