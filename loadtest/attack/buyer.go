package attack

import (
	"context"
	"time"
)

// Buyer is one user with a connection of its own, for workloads that decide by themselves what to send. Each Order is
// exactly one attempt; to try again under the same key is the caller's decision. One goroutine owns a Buyer; only
// Interrupt may be called by another one.
type Buyer struct {
	client client
	order  Order
	codes  codeTable
	keys   keySource
}

// NewBuyer returns a buyer of this order at a base URL; timeout bounds one answer, and one connection to open. It does
// not connect yet. start is what Outcome.SentAt counts from. The error says what is wrong with the URL.
func NewBuyer(target string, o Order, start time.Time, timeout time.Duration) (*Buyer, error) {
	to, err := parseTarget(target)
	if err != nil {
		return nil, err
	}
	b := &Buyer{order: o, keys: newKeySource()}
	b.client = client{
		conn: newConn(newDialer(to.addr, ""), timeout), request: newRequest(to, o, o.ProductID),
		codes: &b.codes, products: []int64{o.ProductID}, start: start,
	}
	return b, nil
}

// NewKey returns an idempotency key that nobody has used.
func (b *Buyer) NewKey() [16]byte { return b.keys.next() }

// Order makes one attempt under this key and blocks until it is answered or given up. retryAfter is the wait that the
// answer asks for, negative where it asks for none. sent is false when ctx ended, or Interrupt was called, before
// anything was sent: then there was no attempt.
func (b *Buyer) Order(ctx context.Context, key [16]byte) (o Outcome, retryAfter time.Duration, sent bool) {
	rec := record{key: key, quantity: uint16(b.order.Quantity)}
	ans, sent := b.client.send(ctx, &rec)
	return Outcome{
		Key: key, UserID: b.order.UserID, ProductID: b.order.ProductID, Quantity: b.order.Quantity,
		Class: rec.class, Status: int(rec.status), Code: b.codes.text(rec.code),
		OrderID: rec.orderID, TotalCents: rec.totalCents, SentAt: rec.sentAt, Latency: rec.latency,
	}, ans.retryAfter, sent
}

// Interrupt ends a wait for an answer, and all later ones, at once.
func (b *Buyer) Interrupt() { b.client.conn.interrupt() }

// Close drops the connection.
func (b *Buyer) Close() { b.client.conn.close() }
