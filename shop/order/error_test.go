package order_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"example.com/flashsale/shop/order"
)

// kinds are all kinds with the codes that clients build on.
var kinds = map[order.Kind]string{
	order.Internal:            "internal",
	order.InvalidRequest:      "invalid_request",
	order.UserNotFound:        "user_not_found",
	order.ProductNotFound:     "product_not_found",
	order.OrderNotFound:       "order_not_found",
	order.OutOfStock:          "out_of_stock",
	order.PriceChanged:        "price_changed",
	order.IdempotencyConflict: "idempotency_conflict",
	order.Overloaded:          "overloaded",
	order.Timeout:             "timeout",
	order.DuplicateKey:        "duplicate_key",
}

// detail returns what the buyer is told.
func detail(t *testing.T, err error) string {
	t.Helper()
	var e *order.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v (%T) is no *order.Error", err, err)
	}
	return e.Detail
}

func TestKindCodes(t *testing.T) {
	t.Parallel()
	for kind, want := range kinds {
		if got := kind.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
	unknown := order.Kind(len(kinds))
	if got, want := unknown.String(), fmt.Sprintf("kind(%d)", len(kinds)); got != want {
		t.Errorf("String() = %q, want %q: is a kind missing in this test?", got, want)
	}
	if got := order.Kind(255).String(); got != "kind(255)" {
		t.Errorf("String() = %q, want kind(255)", got)
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	sold := &order.Error{Kind: order.OutOfStock}
	for name, tt := range map[string]struct {
		err  error
		want order.Kind
	}{
		"plain":                  {sold, order.OutOfStock},
		"wrapped":                {fmt.Errorf("a: %w", fmt.Errorf("b: %w", sold)), order.OutOfStock},
		"joined":                 {errors.Join(io.EOF, sold), order.OutOfStock},
		"the outermost kind":     {&order.Error{Kind: order.Overloaded, Err: sold}, order.Overloaded},
		"a kind over a deadline": {&order.Error{Kind: order.Overloaded, Err: context.DeadlineExceeded}, order.Overloaded},
		"zero value":             {&order.Error{}, order.Internal},
		"deadline":               {context.DeadlineExceeded, order.Timeout},
		"cancelled":              {context.Canceled, order.Timeout},
		"wrapped deadline":       {fmt.Errorf("query: %w", context.DeadlineExceeded), order.Timeout},
		"anything else":          {io.EOF, order.Internal},
		"Invalid":                {order.Invalid("x"), order.InvalidRequest},
		"Overload":               {order.Overload("x"), order.Overloaded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := order.KindOf(tt.err); got != tt.want {
				t.Errorf("KindOf(%v) = %v, want %v", tt.err, got, tt.want)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*order.Error{
		"internal":                      {},
		"out_of_stock: none left":       {Kind: order.OutOfStock, Detail: "none left"},
		"take stock: timeout":           {Kind: order.Timeout, Op: "take stock"},
		"timeout: EOF":                  {Kind: order.Timeout, Err: io.EOF},
		"commit: timeout: unknown: EOF": {Kind: order.Timeout, Op: "commit", Detail: "unknown", Err: io.EOF},
	} {
		if got := err.Error(); got != want {
			t.Errorf("Error() = %q, want %q", got, want)
		}
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	t.Parallel()
	if err := error(&order.Error{Kind: order.Timeout, Err: io.EOF}); !errors.Is(err, io.EOF) {
		t.Errorf("%v does not wrap its cause", err)
	}
}

func TestDetailIsForTheBuyer(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{"a": order.Invalid("a"), "b": order.Overload("b")} {
		if got := detail(t, err); got != want {
			t.Errorf("detail %q, want %q", got, want)
		}
	}
}
