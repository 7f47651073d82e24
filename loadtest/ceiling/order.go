package ceiling

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	takeStock   = `UPDATE products SET stock = stock - $1 WHERE id = $2 AND stock >= $1 AND ($3 = 0 OR price_cents = $3) RETURNING price_cents`
	insertOrder = `INSERT INTO orders (user_id, product_id, quantity, total_cents, status, idempotency_key, request_hash)`
)

// single places one order with one statement.
func (b *Bench) single(ctx context.Context, conn *pgx.Conn) (int, error) {
	var id, total int64
	var at time.Time
	err := conn.QueryRow(ctx, `WITH taken AS (`+takeStock+`) `+insertOrder+`
		SELECT $4, $2, $1, price_cents * $1, 'created', $5, $6 FROM taken RETURNING id, total_cents, created_at`,
		int64(1), b.product, int64(0), int64(1), uuid.NewString(), hash()).Scan(&id, &total, &at)
	return 1, err
}

// transaction places one order with a transaction that reads, decides and writes, in two round trips: what comes before
// the decision, and what comes after it.
func (b *Bench) transaction(ctx context.Context, conn *pgx.Conn) (int, error) {
	var price, stock, id int64
	var at time.Time
	var read, write pgx.Batch
	read.Queue("BEGIN")
	read.Queue(`SELECT price_cents, stock FROM products WHERE id = $1 FOR UPDATE`, b.product).
		QueryRow(func(row pgx.Row) error { return row.Scan(&price, &stock) })
	if err := conn.SendBatch(ctx, &read).Close(); err != nil {
		return 0, err
	}
	write.Queue(`UPDATE products SET stock = $2 WHERE id = $1`, b.product, stock-1)
	write.Queue(insertOrder+` VALUES ($1, $2, 1, $3, 'created', $4, $5) RETURNING id, created_at`,
		int64(1), b.product, price, uuid.NewString(), hash()).
		QueryRow(func(row pgx.Row) error { return row.Scan(&id, &at) })
	write.Queue("COMMIT")
	return 1, conn.SendBatch(ctx, &write).Close()
}

// batch places BatchSize orders with one statement.
func (b *Bench) batch(ctx context.Context, conn *pgx.Conn) (int, error) {
	keys, hashes := make([]string, BatchSize), make([][]byte, BatchSize)
	for i := range keys {
		keys[i], hashes[i] = uuid.NewString(), hash()
	}
	tag, err := conn.Exec(ctx, `WITH taken AS (`+takeStock+`) `+insertOrder+`
		SELECT $4, $2, 1, price_cents, 'created', n.key, n.hash
		FROM taken, unnest($5::text[], $6::bytea[]) AS n (key, hash)`,
		int64(BatchSize), b.product, int64(0), int64(1), keys, hashes)
	return int(tag.RowsAffected()), err
}

// hash returns as many random bytes as the hash of a request has.
func hash() []byte {
	h := make([]byte, 32)
	_, _ = rand.Read(h) // never fails
	return h
}
