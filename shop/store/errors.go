package store

import (
	"context"
	"errors"

	"example.com/flashsale/shop/order"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes, https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	uniqueViolation    = "23505"
	tooManyConnections = "53300"
	lockNotAvailable   = "55P03"
	queryCanceled      = "57014"
)

const keyConstraint = "orders_idempotency_key"

// classify gives a kind to an error of a statement that cannot have committed
// anything: one inside a transaction, or one that only reads.
func classify(op string, err error) error {
	if err == nil {
		return nil
	}
	var known *order.Error
	if errors.As(err, &known) {
		return err
	}
	wrap := func(kind order.Kind, detail string) error {
		return &order.Error{Kind: kind, Detail: detail, Op: op, Err: err}
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Code == uniqueViolation && pg.ConstraintName == keyConstraint:
			return wrap(order.DuplicateKey, "")
		case pg.Code == lockNotAvailable:
			return wrap(order.Overloaded, "the product is in too much demand, try again")
		case pg.Code == queryCanceled:
			return wrap(order.Timeout, "the time for this request ran out")
		case pg.Code == tooManyConnections, lost(pg):
			return wrap(order.Overloaded, "the database is not available, try again")
		}
		return wrap(order.Internal, "")
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || pgconn.Timeout(err) {
		return wrap(order.Timeout, "the time for this request ran out")
	}
	// What is no answer of the server is a connection that broke.
	return wrap(order.Overloaded, "the database is not available, try again")
}

// classifyCommit gives a kind to an error of a statement that commits. An
// error that the server sent means that it was rolled back; a connection that
// broke before the answer leaves the outcome open, and that is a Timeout.
func classifyCommit(op string, err error) error {
	var known *order.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	var pg *pgconn.PgError
	// pgx's "conn closed" calls itself safe to retry, but it also hides the
	// error of a connection that broke after COMMIT was sent.
	notSent := pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed)
	if errors.As(err, &pg) && !lost(pg) || notSent {
		return classify(op, err)
	}
	return &order.Error{Kind: order.Timeout, Detail: "the outcome of this order is not known; ask again with the same Idempotency-Key", Op: op, Err: err}
}

// lost says that the server ended the session: class 57P (shutdown, crash,
// terminated by an administrator) and 25P03 (idle in transaction too long).
func lost(pg *pgconn.PgError) bool {
	return len(pg.Code) == 5 && pg.Code[:3] == "57P" || pg.Code == "25P03"
}

// classifyAcquire gives a kind to an error of waiting for a connection: the
// request was not executed, whatever the reason.
func classifyAcquire(err error) error {
	if err == nil {
		return nil
	}
	return &order.Error{Kind: order.Overloaded, Detail: "no database connection became free in time, try again", Op: "acquire connection", Err: err}
}
