package store

import (
	"context"
	"errors"

	"example.com/flashsale/shop/order"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Tx is the transaction of one order: read the product, write stock and order,
// commit. It belongs to one goroutine, which must call Release in the end.
type Tx struct {
	conn *pgxpool.Conn
	open bool
}

// Begin waits for a connection. BEGIN itself travels with the first statement.
func (s *Store) Begin(ctx context.Context) (*Tx, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, classifyAcquire(err)
	}
	return &Tx{conn: conn}, nil
}

// Product begins the transaction and reads the product.
func (t *Tx) Product(ctx context.Context, id int64) (order.Product, error) {
	return t.read(ctx, selectProduct, id)
}

// LockProduct begins the transaction, reads the product and holds its row
// until the transaction ends.
func (t *Tx) LockProduct(ctx context.Context, id int64) (order.Product, error) {
	return t.read(ctx, selectProduct+` FOR UPDATE`, id)
}

func (t *Tx) read(ctx context.Context, sql string, id int64) (p order.Product, err error) {
	t.open = true
	var b pgx.Batch
	b.Queue("BEGIN")
	b.Queue(sql, id)
	results := t.conn.SendBatch(ctx, &b)
	if _, err = results.Exec(); err == nil {
		p, err = scanProduct(results.QueryRow(), id)
	}
	if closed := results.Close(); err == nil {
		err = closed
	}
	return p, classify("read product", err)
}

// Write sets the stock of the product to left and inserts the order, in one
// round trip. A key that already has an order is a DuplicateKey error.
func (t *Tx) Write(ctx context.Context, req order.Request, p order.Product, left int64) (order.Receipt, error) {
	r := order.Receipt{Status: order.StatusCreated, TotalCents: p.PriceCents * req.Quantity}
	hash := req.Hash()
	var b pgx.Batch
	b.Queue(`UPDATE products SET stock = $2 WHERE id = $1`, p.ID, left)
	b.Queue(`INSERT INTO orders (user_id, product_id, quantity, total_cents, status, idempotency_key, request_hash)
		VALUES ($1, $2, $3, $4, 'created', $5, $6) RETURNING id, created_at`,
		req.UserID, req.ProductID, req.Quantity, r.TotalCents, req.Key, hash[:])
	results := t.conn.SendBatch(ctx, &b)
	_, err := results.Exec()
	if err == nil {
		err = results.QueryRow().Scan(&r.OrderID, &r.CreatedAt)
	}
	if closed := results.Close(); err == nil {
		err = closed
	}
	return r, classify("write order", err)
}

// Commit ends the transaction, whether or not ctx has ended. A Timeout error
// means that the outcome is not known.
func (t *Tx) Commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	t.open = false
	tag, err := t.conn.Exec(ctx, "COMMIT")
	if err == nil {
		err = committed(tag)
	}
	return classifyCommit("commit", err)
}

// committed returns an error unless the server did commit: it answers COMMIT
// with ROLLBACK where a statement before it failed.
func committed(tag pgconn.CommandTag) error {
	if tag.String() == "COMMIT" {
		return nil
	}
	return &order.Error{Kind: order.Internal, Op: "commit", Err: errors.New("the server answered COMMIT with " + tag.String())}
}

// Rollback undoes what is not committed, and does nothing after Commit. It
// ignores the request's context, within a bound of its own.
func (t *Tx) Rollback(ctx context.Context) {
	if !t.open {
		return
	}
	t.open = false
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "ROLLBACK"); err != nil {
		// The server rolls back when the session ends; the pool drops it.
		_ = t.conn.Conn().Close(ctx)
	}
}

// Release rolls back what is not committed and returns the connection.
func (t *Tx) Release(ctx context.Context) {
	t.Rollback(ctx)
	t.conn.Release()
}
