package order

import (
	"context"
	"errors"
	"fmt"
)

// Kind classifies an error by what it means to the buyer.
type Kind uint8

// The kinds. Internal is the zero value: what nobody classified is ours.
const (
	Internal Kind = iota
	InvalidRequest
	UserNotFound
	ProductNotFound
	OrderNotFound
	OutOfStock
	PriceChanged
	IdempotencyConflict
	// Overloaded promises that nothing was written, nor will be.
	Overloaded
	// Timeout makes no promise: the order may have been placed.
	Timeout
	// DuplicateKey is inside only: the key already has an order, and the
	// work was rolled back. Callers answer from the order that is there.
	DuplicateKey
)

var kindNames = [...]string{
	Internal:            "internal",
	InvalidRequest:      "invalid_request",
	UserNotFound:        "user_not_found",
	ProductNotFound:     "product_not_found",
	OrderNotFound:       "order_not_found",
	OutOfStock:          "out_of_stock",
	PriceChanged:        "price_changed",
	IdempotencyConflict: "idempotency_conflict",
	Overloaded:          "overloaded",
	Timeout:             "timeout",
	DuplicateKey:        "duplicate_key",
}

// String returns the stable code of the kind, as clients see it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is an error with a meaning. Detail is for the buyer; Op and Err are
// for the log.
type Error struct {
	Kind   Kind
	Detail string
	Op     string
	Err    error
}

// Error returns the text for the log: operation, kind, detail and cause.
func (e *Error) Error() string {
	s := e.Kind.String()
	if e.Op != "" {
		s = e.Op + ": " + s
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err. A bare context error is a Timeout; any other
// error without a kind is Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Timeout
	}
	return Internal
}

// Invalid returns an InvalidRequest error with that detail.
func Invalid(detail string) error {
	return &Error{Kind: InvalidRequest, Detail: detail}
}

// Overload returns an Overloaded error: the request was not executed and will
// not be.
func Overload(detail string) error {
	return &Error{Kind: Overloaded, Detail: detail}
}
