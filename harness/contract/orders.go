package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	// bodyLimit is the largest body that is read, in bytes.
	bodyLimit = 16 << 10
	// keyLimit is the length of the longest key.
	keyLimit = 255
	// clockSkew is by how much the clocks of client and service may differ. A wrong time zone differs by more.
	clockSkew = 10 * time.Minute
)

var orderRules = []Rule{
	{Name: "product", Group: Orders, Promise: "GET /products/{id} shows id, name, price_cents and stock", check: checkProduct},
	{Name: "order", Group: Orders, Promise: "a good order is answered with 201 and its receipt", check: checkOrder},
	{Name: "order-read", Group: Orders, Promise: "GET /orders/{id} shows the order that was placed", after: []string{"order"}, check: checkOrderRead},
	{Name: "stock", Group: Orders, Promise: "an order takes its units from the stock that is shown", after: []string{"order", "product"}, check: checkStock},
	{Name: "keyless", Group: Orders, Promise: "without keys, the same order twice is two orders", after: []string{"order"}, check: checkKeyless},
	{Name: "right-price", Group: Orders, Promise: "an order with the price that is shown is accepted", after: []string{"order"}, check: checkRightPrice},
	{Name: "limits", Group: Orders, Promise: "a body of 16 KiB, a key of 255 characters and a charset are allowed", after: []string{"order"}, check: checkLimits},
}

// shownProduct is GET /products/{id}.
type shownProduct struct {
	ID         int64  `json:"id"`
	Name       string `json:"name"`
	PriceCents int64  `json:"price_cents"`
	Stock      int64  `json:"stock"`
}

// readProduct returns what an answer shows, or what is wrong with it.
func readProduct(a Answer) (shown shownProduct, problem string) {
	members, problem := object(a)
	if problem != "" {
		return shown, problem
	}
	for _, name := range []string{"id", "name", "price_cents", "stock"} {
		if _, there := members[name]; !there {
			return shown, "no " + name + ": " + a.String()
		}
	}
	if err := json.Unmarshal(a.Body, &shown); err != nil {
		return shown, a.String()
	}
	return shown, ""
}

func checkProduct(ctx context.Context, c *checking) error {
	path := productPath(c.plain.ID)
	a, err := c.send(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	shown, problem := readProduct(a)
	switch {
	case problem != "":
		c.differ("GET "+path, "200 and the product", problem)
	case shown.ID != c.plain.ID || shown.PriceCents < 1 || shown.Stock < 0:
		c.differ("GET "+path, fmt.Sprintf("id %d, a price above 0, a stock of 0 or more", c.plain.ID), a.String())
	case c.cfg.Stock != nil && Product(shown) != c.plain:
		c.differ("GET "+path, fmt.Sprintf("%+v", c.plain), a.String())
	}
	return nil
}

func checkOrder(ctx context.Context, c *checking) error {
	o := c.buy(c.plain.ID)
	o.Quantity = 3
	a, err := c.order(ctx, o)
	if err != nil {
		return err
	}
	r, ok := c.receipt(o.String(), a, http.StatusCreated)
	if !ok {
		return nil
	}
	if contentType := mediaType(a.Header); contentType != "application/json" {
		c.differ(o.String(), "content type application/json", fmt.Sprintf("%q", contentType))
	}
	if r.Status != "created" {
		c.differ(o.String(), "status created", fmt.Sprintf("%q", r.Status))
	}
	if price := c.plain.PriceCents; price > 0 && r.TotalCents != o.Quantity*price {
		c.differ(o.String(), fmt.Sprintf("total_cents %d", o.Quantity*price), fmt.Sprint(r.TotalCents))
	}
	if off := time.Since(r.CreatedAt).Abs(); off > clockSkew {
		c.differ(o.String(), "created_at about now", fmt.Sprintf("%v, which is %v off", r.CreatedAt, off.Round(time.Second)))
	}
	return nil
}

// storedOrder is GET /orders/{id}.
type storedOrder struct {
	OrderID    int64     `json:"order_id"`
	UserID     int64     `json:"user_id"`
	ProductID  int64     `json:"product_id"`
	Quantity   int64     `json:"quantity"`
	TotalCents int64     `json:"total_cents"`
	Status     string    `json:"status"`
	CreatedAt  time.Time `json:"created_at"`
}

func checkOrderRead(ctx context.Context, c *checking) error {
	o := c.buy(c.plain.ID)
	o.Quantity = 2
	r, ok, err := c.accept(ctx, o)
	if err != nil || !ok {
		return err
	}
	request := "GET " + orderPath(r.OrderID)
	a, err := c.send(ctx, http.MethodGet, orderPath(r.OrderID), "", nil)
	if err != nil {
		return err
	}
	if _, problem := object(a); problem != "" {
		c.differ(request, "200 and the order", problem)
		return nil
	}
	var got storedOrder
	unread := json.Unmarshal(a.Body, &got)
	want := storedOrder{r.OrderID, o.User, o.Product, o.Quantity, r.TotalCents, r.Status, got.CreatedAt}
	if unread != nil || got != want || !got.CreatedAt.Equal(r.CreatedAt) {
		want.CreatedAt = r.CreatedAt
		c.differ(request, fmt.Sprintf("%+v", want), a.String())
	}
	return nil
}

func checkStock(ctx context.Context, c *checking) error {
	product, before := c.plain, int64(10)
	if c.cfg.Stock != nil {
		var err error
		if product, err = c.exactly(ctx, before); err != nil {
			return err
		}
	} else {
		var err error
		if before, err = c.left(ctx, product.ID); err != nil {
			return err
		}
	}
	o := c.buy(product.ID)
	o.Quantity = 3
	if _, ok, err := c.accept(ctx, o); err != nil || !ok {
		return err
	}
	if err := c.wantShown(ctx, product.ID, before-3); err != nil || c.cfg.Stock == nil {
		return err
	}
	return c.wantLeft(ctx, product.ID, 1, before-3)
}

func checkKeyless(ctx context.Context, c *checking) error {
	o := c.buy(c.plain.ID)
	o.Key = ""
	first, ok, err := c.accept(ctx, o)
	if err != nil || !ok {
		return err
	}
	second, ok, err := c.accept(ctx, o)
	if err == nil && ok && first.OrderID == second.OrderID {
		c.differ(o.String()+" twice", "two orders", fmt.Sprintf("order %d twice", first.OrderID))
	}
	return err
}

func checkRightPrice(ctx context.Context, c *checking) error {
	price, err := c.price()
	if err != nil {
		return err
	}
	o := c.buy(c.plain.ID)
	o.Price = price
	_, _, err = c.accept(ctx, o)
	return err
}

// padded is the order's body, filled up with spaces inside the object to a length in bytes.
func padded(o Order, length int) string {
	body := o.Body()
	return "{" + strings.Repeat(" ", length-len(body)) + body[1:]
}

// checkLimits places three orders that only just pass.
func checkLimits(ctx context.Context, c *checking) error {
	o := c.buy(c.plain.ID)
	a, err := c.orderAs(ctx, o, padded(o, bodyLimit), o.Header())
	if err != nil {
		return err
	}
	c.receipt("POST /orders with a body of 16 KiB", a, http.StatusCreated)
	long := c.buy(c.plain.ID)
	long.Key += strings.Repeat("~", keyLimit-len(long.Key))
	if a, err = c.order(ctx, long); err != nil {
		return err
	}
	c.receipt("POST /orders with a key of 255 characters", a, http.StatusCreated)
	o = c.buy(c.plain.ID)
	header := o.Header()
	header["Content-Type"] = []string{"application/json; charset=utf-8"}
	if a, err = c.orderAs(ctx, o, o.Body(), header); err != nil {
		return err
	}
	c.receipt("POST /orders as application/json; charset=utf-8", a, http.StatusCreated)
	return nil
}
