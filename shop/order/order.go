// Package order holds what an order is: the request, the receipt, the rules
// that decide between them, and the kinds of error. It knows no database, no
// HTTP and no concurrency model; every stage speaks its words.
package order

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// The bounds of a request. They keep every sum below inside an int64:
// MaxQuantity × MaxPriceCents < 2^63.
const (
	MaxQuantity   = 1_000
	MaxPriceCents = 100_000_000_000
	MaxKeyLength  = 255
)

// StatusCreated is the status of an order that was accepted.
const StatusCreated = "created"

// Request asks for Quantity units of a product.
type Request struct {
	UserID    int64
	ProductID int64
	Quantity  int64
	// PriceCents is the price that the buyer saw, 0 where none was sent.
	// It is compared, never used: buyers do not set prices.
	PriceCents int64
	// Key makes the order idempotent: one key, at most one order.
	Key string
	// ServerKey says that the server made Key, so that no earlier request
	// can have used it.
	ServerKey bool
}

// Validate returns an InvalidRequest error that names the first field out of
// bounds, or nil.
func (r Request) Validate() error {
	switch {
	case r.UserID <= 0:
		return Invalid("user_id must be a positive whole number")
	case r.ProductID <= 0:
		return Invalid("product_id must be a positive whole number")
	case r.Quantity < 1 || r.Quantity > MaxQuantity:
		return Invalid(fmt.Sprintf("quantity must be between 1 and %d", MaxQuantity))
	case r.PriceCents < 0 || r.PriceCents > MaxPriceCents:
		return Invalid(fmt.Sprintf("price_cents must be between 1 and %d", int64(MaxPriceCents)))
	}
	return ValidateKey(r.Key)
}

// ValidateKey returns an InvalidRequest error unless key is 1 to MaxKeyLength
// printable ASCII characters.
func ValidateKey(key string) error {
	if key == "" || len(key) > MaxKeyLength {
		return Invalid(fmt.Sprintf("Idempotency-Key must have 1 to %d characters", MaxKeyLength))
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return Invalid("Idempotency-Key must be printable ASCII")
		}
	}
	return nil
}

// Hash identifies what was asked for, without the key. Two requests with the
// same key must have the same hash, or the second is a conflict.
func (r Request) Hash() [sha256.Size]byte {
	var b [32]byte
	binary.BigEndian.PutUint64(b[0:], uint64(r.UserID))
	binary.BigEndian.PutUint64(b[8:], uint64(r.ProductID))
	binary.BigEndian.PutUint64(b[16:], uint64(r.Quantity))
	binary.BigEndian.PutUint64(b[24:], uint64(r.PriceCents))
	return sha256.Sum256(b[:])
}

// Receipt is the answer to an accepted request.
type Receipt struct {
	OrderID    int64
	Status     string
	TotalCents int64
	CreatedAt  time.Time
	// Replayed says that an earlier request with this key made the order.
	Replayed bool
}

// Order is a stored order.
type Order struct {
	ID         int64
	UserID     int64
	ProductID  int64
	Quantity   int64
	TotalCents int64
	Status     string
	CreatedAt  time.Time
}

// Product is what a buyer can see of a product.
type Product struct {
	ID         int64
	Name       string
	PriceCents int64
	Stock      int64
}

// Check says whether p can fill r: nil, or a PriceChanged or OutOfStock error.
// It looks at a copy; whether the answer still holds when the stock is written
// is the guard's business.
func (p Product) Check(r Request) error {
	if r.PriceCents != 0 && r.PriceCents != p.PriceCents {
		return &Error{Kind: PriceChanged, Detail: fmt.Sprintf("the price is now %d cents", p.PriceCents)}
	}
	if p.Stock < r.Quantity {
		return SoldOut()
	}
	return nil
}

// SoldOut is the error for a product with less stock than was asked for.
func SoldOut() error {
	return &Error{Kind: OutOfStock, Detail: "not enough stock left"}
}
