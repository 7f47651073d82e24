package store

import (
	"context"
	"time"

	"example.com/flashsale/shop/order"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// NewOrder is one row that a batch is to write.
type NewOrder struct {
	UserID, ProductID, Quantity, TotalCents int64
	Key                                     string
	Hash                                    []byte
}

// Past is an order that already holds a key, and the hash of its request.
type Past struct {
	Receipt order.Receipt
	Hash    string
}

// BatchTx is a transaction that sells many orders at once: it locks the
// products, and later takes their stock, writes the orders and commits. It
// belongs to one goroutine, which must call Release in the end.
type BatchTx struct {
	tx Tx
}

// LockProducts begins a transaction and locks the products, in the order of
// their ids, so that two batches never wait for each other in a circle. It
// returns those that exist, as they are under the lock.
func (s *Store) LockProducts(ctx context.Context, ids []int64) (*BatchTx, map[int64]order.Product, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, nil, classifyAcquire(err)
	}
	t := &BatchTx{tx: Tx{conn: conn, open: true}}
	products, err := lockProducts(ctx, conn, ids)
	if err != nil {
		t.Release(ctx)
		return nil, nil, classify("lock products", err)
	}
	return t, products, nil
}

func lockProducts(ctx context.Context, conn *pgxpool.Conn, ids []int64) (map[int64]order.Product, error) {
	products := make(map[int64]order.Product, len(ids))
	var b pgx.Batch
	b.Queue("BEGIN")
	b.Queue(`SELECT id, price_cents, stock FROM products WHERE id = ANY($1) ORDER BY id FOR UPDATE`, ids).
		Query(func(rows pgx.Rows) error {
			var p order.Product
			_, err := pgx.ForEachRow(rows, []any{&p.ID, &p.PriceCents, &p.Stock}, func() error {
				products[p.ID] = p
				return nil
			})
			return err
		})
	return products, conn.SendBatch(ctx, &b).Close()
}

// placeOrders writes the orders of existing users and takes stock for exactly
// those. It answers with one row: the places in the arrays of what was written,
// and the ids, which are drawn before the rows are written so that nothing need
// be returned for each of them.
const placeOrders = `
WITH valid AS MATERIALIZED (
	SELECT nextval('orders_id_seq') AS id, n.*
	FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bytea[])
		WITH ORDINALITY AS n (user_id, product_id, quantity, total_cents, key, hash, place)
	JOIN users u ON u.id = n.user_id
), placed AS (
	INSERT INTO orders (id, user_id, product_id, quantity, total_cents, status, idempotency_key, request_hash)
	SELECT id, user_id, product_id, quantity, total_cents, 'created', key, hash FROM valid
), taken AS (
	UPDATE products p SET stock = p.stock - t.units
	FROM (SELECT product_id, sum(quantity) AS units FROM valid GROUP BY product_id) t
	WHERE p.id = t.product_id
)
SELECT array_agg(place), array_agg(id), now() FROM valid`

// Commit writes the orders, takes their stock, and commits, in one round trip.
// It returns the receipts in the order of the orders; that of an order whose
// user does not exist has no OrderID. Together with that it looks up the orders
// that hold one of keys.
//
// It ignores the request's context, within a bound of its own. DuplicateKey
// means that one of the orders' keys has an order, and that nothing was
// written; Timeout that the outcome is not known.
func (t *BatchTx) Commit(ctx context.Context, orders []NewOrder, keys []string) ([]order.Receipt, map[string]Past, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	receipts := make([]order.Receipt, len(orders))
	past := make(map[string]Past)
	var b pgx.Batch
	if len(keys) > 0 {
		queuePast(&b, keys, past)
	}
	if len(orders) > 0 {
		queueOrders(&b, orders, receipts)
	}
	b.Queue("COMMIT").Exec(committed)
	err := classifyCommit("commit batch", t.tx.conn.SendBatch(ctx, &b).Close())
	// An error of the server leaves the transaction open, to be rolled back.
	t.tx.open = err != nil && order.KindOf(err) != order.Timeout
	return receipts, past, err
}

func queueOrders(b *pgx.Batch, orders []NewOrder, receipts []order.Receipt) {
	n := len(orders)
	numbers := make([]int64, 4*n)
	users, products, quantities, totals := numbers[:n], numbers[n:2*n], numbers[2*n:3*n], numbers[3*n:]
	keys, hashes := make([]string, n), make([][]byte, n)
	for i, o := range orders {
		users[i], products[i], quantities[i], totals[i] = o.UserID, o.ProductID, o.Quantity, o.TotalCents
		keys[i], hashes[i] = o.Key, o.Hash
	}
	b.Queue(placeOrders, users, products, quantities, totals, keys, hashes).QueryRow(func(row pgx.Row) error {
		var places, ids []int64
		var at time.Time
		if err := row.Scan(&places, &ids, &at); err != nil {
			return err
		}
		for i, place := range places {
			receipts[place-1] = order.Receipt{OrderID: ids[i], Status: order.StatusCreated, TotalCents: totals[place-1], CreatedAt: at}
		}
		return nil
	})
}

func queuePast(b *pgx.Batch, keys []string, past map[string]Past) {
	b.Queue(`SELECT idempotency_key, id, status, total_cents, created_at, request_hash
		FROM orders WHERE idempotency_key = ANY($1)`, keys).Query(func(rows pgx.Rows) error {
		var key string
		var hash []byte
		var r order.Receipt
		_, err := pgx.ForEachRow(rows, []any{&key, &r.OrderID, &r.Status, &r.TotalCents, &r.CreatedAt, &hash}, func() error {
			past[key] = Past{Receipt: r, Hash: string(hash)}
			return nil
		})
		return err
	})
}

// Release rolls back what is not committed and returns the connection. Further
// calls do nothing.
func (t *BatchTx) Release(ctx context.Context) {
	t.tx.Release(ctx)
}

// PastOrders returns the orders that hold one of the keys, without any lock.
func (s *Store) PastOrders(ctx context.Context, keys []string) (map[string]Past, error) {
	past := make(map[string]Past)
	var b pgx.Batch
	queuePast(&b, keys, past)
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, classify("look up keys", err)
	}
	return past, nil
}

// Outcome finds out what became of a batch whose COMMIT was not answered. It
// takes the locks of the products first: the lost transaction holds them until
// it is decided. Then the orders are there, or will never be.
func (s *Store) Outcome(ctx context.Context, products []int64, keys []string) (map[string]Past, error) {
	t, _, err := s.LockProducts(ctx, products)
	if err != nil {
		return nil, err
	}
	defer t.Release(ctx)
	_, past, err := t.Commit(ctx, nil, keys)
	return past, err
}
