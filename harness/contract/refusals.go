package contract

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

const invalid = "invalid_request"

// nobody is an id that no service has given to anything.
const nobody = 999_999_999

var refusalRules = []Rule{
	{Name: "malformed", Group: Refusals, Promise: "a body that is not one JSON object is 400 invalid_request", check: bodies(malformed)},
	{Name: "missing-field", Group: Refusals, Promise: "an order without user, product or quantity is 400 invalid_request", check: bodies(missing)},
	{Name: "unknown-field", Group: Refusals, Promise: "an order with a field that there is not is 400 invalid_request", check: bodies(superfluous)},
	{Name: "wrong-type", Group: Refusals, Promise: "an order with a field of another type is 400 invalid_request", check: bodies(mistyped)},
	{Name: "out-of-range", Group: Refusals, Promise: "an order with a number that is not allowed is 400 invalid_request", check: bodies(outOfRange)},
	{Name: "bad-key", Group: Refusals, Promise: "an empty key, one of 256 characters or beyond printable ASCII is 400 invalid_request", check: checkBadKeys},
	{Name: "content-type", Group: Refusals, Promise: "another content type than JSON, or none, is 415 unsupported_media_type", check: checkContentTypes},
	{Name: "body-too-large", Group: Refusals, Promise: "a body above 16 KiB is 413 body_too_large", check: checkBodyLimit},
	{Name: "body-far-too-large", Group: Refusals, Promise: "a body of 1 MiB is 413 too, and the client gets to read that", after: []string{"body-too-large"}, check: checkLargeBodies},
	{Name: "unknown-user", Group: Refusals, Promise: "an order for a user who does not exist is 404 user_not_found", check: checkUnknownUser},
	{Name: "unknown-product", Group: Refusals, Promise: "an order of a product that does not exist is 404 product_not_found", check: checkUnknownProduct},
	{Name: "price-changed", Group: Refusals, Promise: "an order with another price than that of the product is 409 price_changed", check: checkPriceChanged},
	{Name: "more-than-stock", Group: Refusals, Promise: "an order of more units than there are is 409 out_of_stock", check: checkMoreThanStock},
	{Name: "sold-out", Group: Refusals, Promise: "an order of a product that is sold out is 409 out_of_stock", check: checkSoldOut},
	{Name: "bad-id", Group: Refusals, Promise: "GET with an id that is not a number from 1 on is 400 invalid_request", check: checkBadIDs},
	{Name: "not-found", Group: Refusals, Promise: "GET of an order or product that does not exist is 404 with its own code", check: checkNotFound},
	{Name: "no-route", Group: Refusals, Promise: "a path that there is not is 404 route_not_found", check: checkRoutes},
	{Name: "no-method", Group: Refusals, Promise: "a method that a path does not have is 405 method_not_allowed, with Allow", check: checkMethods},
	{Name: "takes-nothing", Group: Refusals, Promise: "an order that is refused takes nothing from the stock", after: []string{"product"}, check: checkTakesNothing},
}

// wrongBody is a body that must be refused.
type wrongBody struct{ name, body string }

// bodies is the check of a rule about bodies.
func bodies(list func(product int64) []wrongBody) func(context.Context, *checking) error {
	return func(ctx context.Context, c *checking) error {
		for _, w := range list(c.plain.ID) {
			o := Order{User: c.cfg.Users[0], Product: c.plain.ID, Quantity: 1}
			a, err := c.orderAs(ctx, o, w.body, o.Header())
			if err != nil {
				return err
			}
			c.refused(fmt.Sprintf("POST /orders %s (%s)", w.body, w.name), a, http.StatusBadRequest, invalid)
		}
		return nil
	}
}

func malformed(product int64) []wrongBody {
	good := Order{User: 1, Product: product, Quantity: 1}.Body()
	return []wrongBody{
		{"no body", ""},
		{"half an object", `{"user_id":1,`},
		{"not JSON", `user_id=1&product_id=1&quantity=1`},
		{"array", `[` + good + `]`},
		{"null", `null`},
		{"string", `"order"`},
		{"two objects", good + good},
		{"garbage behind", good + "x"},
	}
}

func missing(product int64) []wrongBody {
	return []wrongBody{
		{"empty object", `{}`},
		{"no quantity", fmt.Sprintf(`{"user_id":1,"product_id":%d}`, product)},
		{"no product", `{"user_id":1,"quantity":1}`},
		{"no user", fmt.Sprintf(`{"product_id":%d,"quantity":1}`, product)},
	}
}

func superfluous(product int64) []wrongBody {
	return []wrongBody{{"total_cents", fmt.Sprintf(`{"user_id":1,"product_id":%d,"quantity":1,"total_cents":1}`, product)}}
}

// withQuantity is an order with this text for a quantity, and with the rest behind it.
func withQuantity(product int64, quantity string) string {
	return fmt.Sprintf(`{"user_id":1,"product_id":%d,"quantity":%s}`, product, quantity)
}

func withUser(product int64, user string) string {
	return fmt.Sprintf(`{"user_id":%s,"product_id":%d,"quantity":1}`, user, product)
}

func mistyped(product int64) []wrongBody {
	return []wrongBody{
		{"quantity as string", withQuantity(product, `"1"`)},
		{"quantity as fraction", withQuantity(product, `1.5`)},
		{"quantity as bool", withQuantity(product, `true`)},
		{"quantity null", withQuantity(product, `null`)},
		{"user as object", withUser(product, `{}`)},
		{"price as string", withQuantity(product, `1,"price_cents":"1999"`)},
	}
}

func outOfRange(product int64) []wrongBody {
	return []wrongBody{
		{"quantity 0", withQuantity(product, `0`)},
		{"quantity -1", withQuantity(product, `-1`)},
		{"quantity 1001", withQuantity(product, `1001`)},
		{"quantity huge", withQuantity(product, `9223372036854775807`)},
		{"quantity over int64", withQuantity(product, `9223372036854775808`)},
		{"quantity 1e300", withQuantity(product, `1e300`)},
		{"user 0", withUser(product, `0`)},
		{"user -1", withUser(product, `-1`)},
		{"product 0", `{"user_id":1,"product_id":0,"quantity":1}`},
		{"product -1", `{"user_id":1,"product_id":-1,"quantity":1}`},
		{"price -1", withQuantity(product, `1,"price_cents":-1`)},
		{"price above the highest", withQuantity(product, `1,"price_cents":100000000001`)},
	}
}

func checkBadKeys(ctx context.Context, c *checking) error {
	for _, w := range []struct{ name, key string }{
		{"an empty key", ""}, {"a key of 256 characters", strings.Repeat("k", keyLimit+1)}, {"a key beyond ASCII", "schlüssel"}, {"a key with a tab", "a\tb"},
	} {
		o := Order{User: c.cfg.Users[0], Product: c.plain.ID, Quantity: 1}
		header := o.Header()
		header["Idempotency-Key"] = []string{w.key}
		a, err := c.orderAs(ctx, o, o.Body(), header)
		if err != nil {
			return err
		}
		c.refused("POST /orders with "+w.name, a, http.StatusBadRequest, invalid)
	}
	return nil
}

func checkContentTypes(ctx context.Context, c *checking) error {
	for name, header := range map[string]http.Header{
		"as text/plain":                        {"Content-Type": {"text/plain"}},
		"as application/x-www-form-urlencoded": {"Content-Type": {"application/x-www-form-urlencoded"}},
		"without a content type":               nil,
	} {
		o := Order{User: c.cfg.Users[0], Product: c.plain.ID, Quantity: 1}
		a, err := c.orderAs(ctx, o, o.Body(), header)
		if err != nil {
			return err
		}
		c.refused("POST /orders "+name, a, http.StatusUnsupportedMediaType, "unsupported_media_type")
	}
	return nil
}

func checkBodyLimit(ctx context.Context, c *checking) error { return c.tooLarge(ctx, bodyLimit+1) }

// checkLargeBodies sends bodies that no socket buffer holds. A server that closes the connection with some of it unread
// resets it, and the answer is lost now and then; so one body proves nothing.
func checkLargeBodies(ctx context.Context, c *checking) error {
	for range 40 {
		if err := c.tooLarge(ctx, 64*bodyLimit); err != nil || len(c.findings) > 0 {
			return err
		}
	}
	return nil
}

func (c *checking) tooLarge(ctx context.Context, length int) error {
	o := Order{User: c.cfg.Users[0], Product: c.plain.ID, Quantity: 1}
	a, err := c.orderAs(ctx, o, padded(o, length), o.Header())
	if err != nil {
		return err
	}
	c.refused(fmt.Sprintf("POST /orders with a body of %d bytes", length), a, http.StatusRequestEntityTooLarge, "body_too_large")
	return nil
}

func checkUnknownUser(ctx context.Context, c *checking) error {
	o := c.buy(c.plain.ID)
	o.User = nobody
	return c.refuse(ctx, o, http.StatusNotFound, "user_not_found")
}

func checkUnknownProduct(ctx context.Context, c *checking) error {
	return c.refuse(ctx, c.buy(nobody), http.StatusNotFound, "product_not_found")
}

func checkPriceChanged(ctx context.Context, c *checking) error {
	price, err := c.price()
	if err != nil {
		return err
	}
	for _, wrong := range []int64{price - 1, price + 1} {
		if wrong < 1 {
			continue
		}
		o := c.buy(c.plain.ID)
		o.Price = wrong
		if err := c.refuse(ctx, o, http.StatusConflict, priceChanged); err != nil {
			return err
		}
	}
	return nil
}

// checkMoreThanStock asks for one unit more than there is, which takes nothing.
func checkMoreThanStock(ctx context.Context, c *checking) error {
	left, err := c.left(ctx, c.plain.ID)
	if err != nil {
		return err
	}
	if left >= maxQuantity {
		return skipError{fmt.Sprintf("product %d has %d units, and one order may ask for %d", c.plain.ID, left, maxQuantity)}
	}
	o := c.buy(c.plain.ID)
	o.Quantity = left + 1
	return c.refuse(ctx, o, http.StatusConflict, outOfStock)
}

// checkSoldOut buys the last unit of a product, unless there is one that is sold out.
func checkSoldOut(ctx context.Context, c *checking) error {
	if c.cfg.SoldOut != 0 {
		return c.refuse(ctx, c.buy(c.cfg.SoldOut), http.StatusConflict, outOfStock)
	}
	product, err := c.exactly(ctx, 1)
	if err != nil {
		return err
	}
	if _, ok, err := c.accept(ctx, c.buy(product.ID)); err != nil || !ok {
		return err
	}
	return c.refuse(ctx, c.buy(product.ID), http.StatusConflict, outOfStock)
}

// get asks for paths that must be refused so.
func (c *checking) get(ctx context.Context, method string, paths []string, status int, code string) error {
	for _, path := range paths {
		a, err := c.send(ctx, method, path, "", nil)
		if err != nil {
			return err
		}
		c.refused(method+" "+path, a, status, code)
	}
	return nil
}

func checkBadIDs(ctx context.Context, c *checking) error {
	var paths []string
	for _, id := range []string{"0", "-1", "abc", "1.5", "9223372036854775808"} {
		paths = append(paths, "/orders/"+id, "/products/"+id)
	}
	return c.get(ctx, http.MethodGet, paths, http.StatusBadRequest, invalid)
}

func checkNotFound(ctx context.Context, c *checking) error {
	for _, kind := range []string{"order", "product"} {
		paths := []string{"/" + kind + "s/999999999", "/" + kind + "s/9223372036854775807"}
		if err := c.get(ctx, http.MethodGet, paths, http.StatusNotFound, kind+"_not_found"); err != nil {
			return err
		}
	}
	return nil
}

func checkRoutes(ctx context.Context, c *checking) error {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if err := c.get(ctx, method, []string{"/nowhere"}, http.StatusNotFound, "route_not_found"); err != nil {
			return err
		}
	}
	return nil
}

func checkMethods(ctx context.Context, c *checking) error {
	for _, route := range []struct{ method, path string }{
		{http.MethodGet, "/orders"}, {http.MethodPut, "/orders"}, {http.MethodDelete, "/orders/1"}, {http.MethodPost, "/products/1"},
	} {
		a, err := c.send(ctx, route.method, route.path, "", nil)
		if err != nil {
			return err
		}
		request := route.method + " " + route.path
		if c.refused(request, a, http.StatusMethodNotAllowed, "method_not_allowed") && a.Header.Get("Allow") == "" {
			c.differ(request, "the header Allow, which RFC 9110 asks for with 405", "none")
		}
	}
	return nil
}

// checkTakesNothing compares the stock before and after orders of all kinds that should be refused. Where one of them is
// accepted, its own rule fails; its units are not counted here.
func checkTakesNothing(ctx context.Context, c *checking) error {
	before, err := c.left(ctx, c.plain.ID)
	if err != nil {
		return err
	}
	bought := c.units
	unknown, dear := c.buy(c.plain.ID), c.buy(c.plain.ID)
	unknown.User = nobody
	dear.Price = c.plain.PriceCents + 1
	for _, o := range []Order{unknown, dear} {
		if _, err := c.order(ctx, o); err != nil {
			return err
		}
	}
	o := c.buy(c.plain.ID)
	for _, body := range []string{o.Body() + "x", superfluous(c.plain.ID)[0].body} {
		if _, err := c.orderAs(ctx, o, body, o.Header()); err != nil {
			return err
		}
	}
	return c.wantShown(ctx, c.plain.ID, before-(c.units-bought))
}
