package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// wrong is a request that must be refused.
type wrong struct {
	name, method, path string
	body               string
	header             http.Header
	status             int
	code               string // empty: any
}

const (
	invalid = "invalid_request"
	// bodyLimit is the largest body that is read, in bytes.
	bodyLimit = 16 << 10
)

// testErrors sends what must be refused, and checks that nothing of it was done.
func testErrors(t *testing.T, s *suite) {
	f := s.start(t)
	product := f.product(10)
	bound := order{user: 1, product: product, quantity: 1, key: "bound"}
	f.mustBuy(bound)
	for _, w := range allWrong(product, bound) {
		f.sub(w.name, func(f *fixture) {
			a := f.mustSend(w.method, w.path, w.body, w.header)
			wantProblem(f.T, a, w.status, w.code)
			if w.status == http.StatusMethodNotAllowed && a.header.Get("Allow") == "" {
				f.Error("405 without the Allow header that RFC 9110 asks for")
			}
		})
	}
	f.sub("body far too large", func(f *fixture) { f.checkLargeBodies(product) })
	f.sub("limits are allowed", func(f *fixture) { f.checkLimits(product) })
	f.wantSold(product, 4, 6)
	if all := f.number(`SELECT count(*) FROM orders`); all != 4 {
		f.Errorf("%d orders in the database, want 4", all)
	}
}

func allWrong(product int64, bound order) []wrong {
	list := wrongBodies(product)
	list = append(list, wrongKeys(product)...)
	list = append(list, wrongPaths()...)
	return append(list, refused(product, bound)...)
}

func wrongBodies(product int64) []wrong {
	good := order{user: 1, product: product, quantity: 1}
	with := fmt.Sprintf
	bodies := map[string]string{
		"no body":              "",
		"half an object":       `{"user_id":1,`,
		"not JSON":             `user_id=1&product_id=1&quantity=1`,
		"array":                `[` + good.body() + `]`,
		"null":                 `null`,
		"string":               `"order"`,
		"two objects":          good.body() + good.body(),
		"garbage behind":       good.body() + "x",
		"empty object":         `{}`,
		"no quantity":          with(`{"user_id":1,"product_id":%d}`, product),
		"no product":           `{"user_id":1,"quantity":1}`,
		"no user":              with(`{"product_id":%d,"quantity":1}`, product),
		"unknown field":        with(`{"user_id":1,"product_id":%d,"quantity":1,"total_cents":1}`, product),
		"quantity as string":   with(`{"user_id":1,"product_id":%d,"quantity":"1"}`, product),
		"quantity as fraction": with(`{"user_id":1,"product_id":%d,"quantity":1.5}`, product),
		"quantity as bool":     with(`{"user_id":1,"product_id":%d,"quantity":true}`, product),
		"quantity null":        with(`{"user_id":1,"product_id":%d,"quantity":null}`, product),
		"quantity 0":           with(`{"user_id":1,"product_id":%d,"quantity":0}`, product),
		"quantity -1":          with(`{"user_id":1,"product_id":%d,"quantity":-1}`, product),
		"quantity huge":        with(`{"user_id":1,"product_id":%d,"quantity":9223372036854775807}`, product),
		"quantity over int64":  with(`{"user_id":1,"product_id":%d,"quantity":9223372036854775808}`, product),
		"quantity 1e300":       with(`{"user_id":1,"product_id":%d,"quantity":1e300}`, product),
		"user 0":               with(`{"user_id":0,"product_id":%d,"quantity":1}`, product),
		"user -1":              with(`{"user_id":-1,"product_id":%d,"quantity":1}`, product),
		"product 0":            `{"user_id":1,"product_id":0,"quantity":1}`,
		"product -1":           `{"user_id":1,"product_id":-1,"quantity":1}`,
		"user as object":       with(`{"user_id":{},"product_id":%d,"quantity":1}`, product),
		"price -1":             with(`{"user_id":1,"product_id":%d,"quantity":1,"price_cents":-1}`, product),
		"price as string":      with(`{"user_id":1,"product_id":%d,"quantity":1,"price_cents":"1999"}`, product),
	}
	var list []wrong
	for name, body := range bodies {
		list = append(list, wrong{name, http.MethodPost, "/orders", body, good.header(), 400, invalid})
	}
	text := http.Header{"Content-Type": {"text/plain"}}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	return append(list,
		wrong{"body too large", http.MethodPost, "/orders", padded(good, bodyLimit+1), good.header(), 413, "body_too_large"},
		wrong{"content type text", http.MethodPost, "/orders", good.body(), text, 415, "unsupported_media_type"},
		wrong{"content type form", http.MethodPost, "/orders", good.body(), form, 415, "unsupported_media_type"},
		wrong{"no content type", http.MethodPost, "/orders", good.body(), nil, 415, "unsupported_media_type"},
	)
}

// padded is the order's body, filled up with spaces inside the object to a length in bytes.
func padded(o order, length int) string {
	body := o.body()
	return "{" + strings.Repeat(" ", length-len(body)) + body[1:]
}

func wrongKeys(product int64) []wrong {
	var list []wrong
	for name, key := range map[string]string{
		"empty key": "", "key of 256 characters": strings.Repeat("k", 256), "key with a letter beyond ASCII": "schlüssel", "key with a tab": "a\tb",
	} {
		o := order{user: 1, product: product, quantity: 1}
		header := o.header()
		header["Idempotency-Key"] = []string{key}
		list = append(list, wrong{name, http.MethodPost, "/orders", o.body(), header, 400, invalid})
	}
	return list
}

func wrongPaths() []wrong {
	var list []wrong
	for _, kind := range []string{"orders", "products"} {
		missing := strings.TrimSuffix(kind, "s") + "_not_found"
		for id, status := range map[string]int{"0": 400, "-1": 400, "abc": 400, "1.5": 400, "9223372036854775808": 400, "999999999": 404, "9223372036854775807": 404} {
			code := invalid
			if status == http.StatusNotFound {
				code = missing
			}
			path := "/" + kind + "/" + id
			list = append(list, wrong{"GET " + path, http.MethodGet, path, "", nil, status, code})
		}
	}
	for _, route := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/", 404},
		{http.MethodGet, "/nowhere", 404},
		{http.MethodPost, "/nowhere", 404},
		{http.MethodGet, "/orders", 405},
		{http.MethodPut, "/orders", 405},
		{http.MethodDelete, "/orders/1", 405},
		{http.MethodPost, "/products/1", 405},
	} {
		list = append(list, wrong{route.method + " " + route.path, route.method, route.path, "", nil, route.status, ""})
	}
	return list
}

// refused lists requests that are well made and get a no.
func refused(product int64, bound order) []wrong {
	place := func(name string, o order, status int, code string) wrong {
		return wrong{name, http.MethodPost, "/orders", o.body(), o.header(), status, code}
	}
	otherUser, otherQuantity, otherPrice := bound, bound, bound
	otherUser.user, otherQuantity.quantity, otherPrice.price = 2, 2, price
	tooMany := buy(product)
	tooMany.quantity = 11
	return []wrong{
		place("unknown user", order{user: 999_999_999, product: product, quantity: 1}, 404, "user_not_found"),
		place("unknown product", order{user: 1, product: 999_999_999, quantity: 1}, 404, "product_not_found"),
		place("more than there is", tooMany, 409, "out_of_stock"),
		place("price too low", order{user: 1, product: product, quantity: 1, price: price - 1}, 409, "price_changed"),
		place("price too high", order{user: 1, product: product, quantity: 1, price: price + 1}, 409, "price_changed"),
		place("key of another user's order", otherUser, 409, "idempotency_conflict"),
		place("key of an order of another quantity", otherQuantity, 409, "idempotency_conflict"),
		place("key of an order with another price", otherPrice, 409, "idempotency_conflict"),
	}
}

// checkLargeBodies sends bodies that no socket buffer holds. A server that closes the connection with some of it unread
// resets it, and the answer is lost now and then; so one body proves nothing.
func (f *fixture) checkLargeBodies(product int64) {
	o := order{user: 1, product: product, quantity: 1}
	body := padded(o, 64*bodyLimit)
	for range 40 {
		wantProblem(f.T, f.mustSend(http.MethodPost, "/orders", body, o.header()), http.StatusRequestEntityTooLarge, "body_too_large")
	}
}

// checkLimits places three orders that only just pass.
func (f *fixture) checkLimits(product int64) {
	o := order{user: 1, product: product, quantity: 1}
	f.mustReceipt(f.mustSend(http.MethodPost, "/orders", padded(o, bodyLimit), o.header()), http.StatusCreated)
	o.key = strings.Repeat("~", 255)
	f.mustReceipt(f.mustOrder(o), http.StatusCreated)
	o.key = "with charset"
	header := o.header()
	header["Content-Type"] = []string{"application/json; charset=utf-8"}
	f.mustReceipt(f.mustSend(http.MethodPost, "/orders", o.body(), header), http.StatusCreated)
}

// testInternal breaks the schema under the stage: it must say nothing of its inside, and work again once mended.
func testInternal(t *testing.T, s *suite) {
	f := s.start(t)
	product := f.product(2)
	f.mustBuy(buy(product))
	if _, err := f.db.Exec(t.Context(), `ALTER TABLE orders RENAME TO misplaced`); err != nil {
		t.Fatal(err)
	}
	o := buy(product)
	a := f.mustOrder(o)
	wantProblem(t, a, http.StatusInternalServerError, "internal")
	for _, secret := range []string{"orders", "relation", "SQLSTATE", "42P01", "INSERT", ".go"} {
		if strings.Contains(string(a.body), secret) {
			t.Errorf("the answer shows the inside (%s): %s", secret, a.body)
		}
	}
	if _, err := f.db.Exec(t.Context(), `ALTER TABLE misplaced RENAME TO orders`); err != nil {
		t.Fatal(err)
	}
	f.mustBuy(o)
	f.wantSold(product, 2, 0)
}
