package order_test

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"example.com/flashsale/shop/order"
)

func valid() order.Request {
	return order.Request{UserID: 1, ProductID: 7, Quantity: 1, PriceCents: 1999, Key: "key"}
}

func TestValidateAccepts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*order.Request){
		"plain":                func(*order.Request) {},
		"without a price":      func(r *order.Request) { r.PriceCents = 0 },
		"highest quantity":     func(r *order.Request) { r.Quantity = order.MaxQuantity },
		"highest price":        func(r *order.Request) { r.PriceCents = order.MaxPriceCents },
		"largest ids":          func(r *order.Request) { r.UserID, r.ProductID = math.MaxInt64, math.MaxInt64 },
		"longest key":          func(r *order.Request) { r.Key = strings.Repeat("k", order.MaxKeyLength) },
		"key of one space":     func(r *order.Request) { r.Key = " " },
		"first and last ASCII": func(r *order.Request) { r.Key = " ~" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := valid()
			change(&r)
			if err := r.Validate(); err != nil {
				t.Errorf("Validate() = %v, want nil", err)
			}
		})
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*order.Request)
		field  string
	}{
		"user 0":            {func(r *order.Request) { r.UserID = 0 }, "user_id"},
		"user negative":     {func(r *order.Request) { r.UserID = math.MinInt64 }, "user_id"},
		"product 0":         {func(r *order.Request) { r.ProductID = 0 }, "product_id"},
		"product negative":  {func(r *order.Request) { r.ProductID = -1 }, "product_id"},
		"quantity 0":        {func(r *order.Request) { r.Quantity = 0 }, "quantity"},
		"quantity negative": {func(r *order.Request) { r.Quantity = -1 }, "quantity"},
		"quantity too high": {func(r *order.Request) { r.Quantity = order.MaxQuantity + 1 }, "quantity"},
		"price negative":    {func(r *order.Request) { r.PriceCents = -1 }, "price_cents"},
		"price too high":    {func(r *order.Request) { r.PriceCents = order.MaxPriceCents + 1 }, "price_cents"},
		"no key":            {func(r *order.Request) { r.Key = "" }, "Idempotency-Key"},
		"key too long":      {func(r *order.Request) { r.Key = strings.Repeat("k", order.MaxKeyLength+1) }, "Idempotency-Key"},
		"several":           {func(r *order.Request) { *r = order.Request{} }, "user_id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := valid()
			tt.change(&r)
			err := r.Validate()
			if order.KindOf(err) != order.InvalidRequest || !strings.HasPrefix(detail(t, err), tt.field+" ") {
				t.Errorf("Validate() = %v, want an InvalidRequest that begins with %s", err, tt.field)
			}
		})
	}
}

func TestValidateKeyIsPrintableASCII(t *testing.T) {
	t.Parallel()
	for b := range 256 {
		err := order.ValidateKey("a" + string([]byte{byte(b)}) + "z")
		printable := b >= 0x20 && b <= 0x7e
		if printable && err != nil {
			t.Errorf("byte %#x: %v, want nil", b, err)
		}
		if !printable && order.KindOf(err) != order.InvalidRequest {
			t.Errorf("byte %#x: %v, want an InvalidRequest", b, err)
		}
	}
}

// TestSumsFitInt64 guards the bounds: a change of one of them must not make a
// total that wraps around.
func TestSumsFitInt64(t *testing.T) {
	t.Parallel()
	quantity, price := int64(order.MaxQuantity), int64(order.MaxPriceCents)
	if quantity <= 0 || price > math.MaxInt64/quantity {
		t.Errorf("%d × %d does not fit an int64", quantity, price)
	}
}

func TestHashDiffersPerField(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, r := range map[string]order.Request{
		"base":        {UserID: 1, ProductID: 2, Quantity: 3, PriceCents: 4},
		"user":        {UserID: 9, ProductID: 2, Quantity: 3, PriceCents: 4},
		"product":     {UserID: 1, ProductID: 9, Quantity: 3, PriceCents: 4},
		"quantity":    {UserID: 1, ProductID: 2, Quantity: 9, PriceCents: 4},
		"price":       {UserID: 1, ProductID: 2, Quantity: 3, PriceCents: 9},
		"no price":    {UserID: 1, ProductID: 2, Quantity: 3},
		"swapped ids": {UserID: 2, ProductID: 1, Quantity: 3, PriceCents: 4},
		"high bits":   {UserID: 1 << 40, ProductID: 2, Quantity: 3, PriceCents: 4},
	} {
		h := r.Hash()
		if other, dup := seen[string(h[:])]; dup {
			t.Errorf("%s and %s have the same hash", name, other)
		}
		seen[string(h[:])] = name
	}
}

func TestHashIgnoresTheKey(t *testing.T) {
	t.Parallel()
	a, b := valid(), valid()
	b.Key, b.ServerKey = "another", true
	if a.Hash() != b.Hash() {
		t.Error("the hash depends on the key")
	}
}

// TestHashIsStable pins the value: hashes are stored with orders, and another
// one would turn every retry across an update into a conflict.
func TestHashIsStable(t *testing.T) {
	t.Parallel()
	h := order.Request{UserID: 1, ProductID: 2, Quantity: 3, PriceCents: 4}.Hash()
	const want = "7236c00c170036c6de133a878210ddd58567aa1d0619a0f70f69e38ae6f916e9" // of the four numbers, 8 bytes each, big endian
	if got := hex.EncodeToString(h[:]); got != want {
		t.Errorf("Hash() = %s, want %s", got, want)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p := order.Product{ID: 7, PriceCents: 1999, Stock: 5}
	for name, tt := range map[string]struct {
		quantity, price int64
		want            order.Kind
		detail          string
	}{
		"enough":                    {quantity: 1},
		"all of it":                 {quantity: 5},
		"all of it at this price":   {quantity: 5, price: 1999},
		"one more":                  {quantity: 6, want: order.OutOfStock, detail: "not enough stock left"},
		"lower price":               {quantity: 1, price: 1998, want: order.PriceChanged, detail: "the price is now 1999 cents"},
		"higher price":              {quantity: 1, price: 2000, want: order.PriceChanged, detail: "the price is now 1999 cents"},
		"price comes before stock":  {quantity: 6, price: 2000, want: order.PriceChanged, detail: "the price is now 1999 cents"},
		"right price but too many":  {quantity: 6, price: 1999, want: order.OutOfStock, detail: "not enough stock left"},
		"the highest that may come": {quantity: order.MaxQuantity, want: order.OutOfStock, detail: "not enough stock left"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := p.Check(order.Request{UserID: 1, ProductID: 7, Quantity: tt.quantity, PriceCents: tt.price})
			if tt.detail == "" {
				if err != nil {
					t.Errorf("Check() = %v, want nil", err)
				}
				return
			}
			if order.KindOf(err) != tt.want || detail(t, err) != tt.detail {
				t.Errorf("Check() = %v, want %v: %s", err, tt.want, tt.detail)
			}
		})
	}
}

func TestCheckSoldOut(t *testing.T) {
	t.Parallel()
	err := order.Product{PriceCents: 1}.Check(order.Request{Quantity: 1})
	if order.KindOf(err) != order.OutOfStock {
		t.Errorf("Check() = %v, want OutOfStock", err)
	}
}
