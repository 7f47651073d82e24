package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// pause is what a client waits after it was turned away, so that it does not spin.
const pause = 50 * time.Millisecond

// defaultPatience bounds how long orders are sent again that were turned away.
const defaultPatience = 20 * time.Second

// checking is a check under way.
type checking struct {
	cfg      Config
	client   *Client
	failed   map[string]bool // rules that failed, and those that say nothing for that
	findings []Finding       // of the present rule
	nextUser int

	patience time.Duration // for each order
	plain    Product       // the one that is ordered where any will do

	mu         sync.Mutex
	exhausted  bool // an order was turned away for its whole patience: the others are sent once
	created    int64
	units      int64 // of plain
	overloaded int64
	problems   []Finding // error answers that are no problems of RFC 9457
	hasty      []Finding // 503 without Retry-After
	errors     int       // error answers
}

// begin finds the product that is ordered where any will do. That a product cannot be read is a matter of the rules.
func (c *checking) begin(ctx context.Context) (err error) {
	if c.cfg.Stock != nil {
		if c.plain, err = c.cfg.Stock.Make(ctx, maxQuantity-1); err != nil {
			return err
		}
	}
	id := c.cfg.Product
	if c.cfg.Stock != nil {
		id = c.plain.ID
	}
	a, err := c.client.Send(ctx, http.MethodGet, productPath(id), "", nil)
	switch {
	case err != nil:
		return fmt.Errorf("the service at %s does not answer: %w", c.cfg.URL, err)
	case c.cfg.Stock != nil && a.Status == http.StatusNotFound && a.looseCode() == "product_not_found":
		return fmt.Errorf("the service does not know product %d, which was just made: it uses another database", id)
	case c.cfg.Stock != nil:
		return nil
	}
	c.plain = Product{ID: c.cfg.Product}
	if shown, problem := readProduct(a); problem == "" && shown.ID == c.cfg.Product {
		c.plain.PriceCents, c.plain.Stock = shown.PriceCents, shown.Stock
		if shown.Stock < UnitsBought {
			return fmt.Errorf("product %d has %d units left, and up to %d are bought: choose another", shown.ID, shown.Stock, UnitsBought)
		}
	}
	return nil
}

// exactly returns a new product with so many units.
func (c *checking) exactly(ctx context.Context, stock int64) (Product, error) {
	if c.cfg.Stock == nil {
		return Product{}, skipError{"needs a product with a stock of its own, which takes the database"}
	}
	return c.cfg.Stock.Make(ctx, stock)
}

// price returns that of the plain product.
func (c *checking) price() (int64, error) {
	if c.plain.PriceCents < 1 {
		return 0, skipError{"the price of the product is not known: see rule product"}
	}
	return c.plain.PriceCents, nil
}

// buy is one unit with a fresh key, for the next user.
func (c *checking) buy(product int64) Order {
	o := Buy(product)
	o.User = c.cfg.Users[c.nextUser%len(c.cfg.Users)]
	c.nextUser++
	return o
}

// differ notes that something is not as the contract says.
func (c *checking) differ(request, want, got string) {
	f := newFinding(request, want, got)
	if len(c.findings) < maxFindings && !slices.Contains(c.findings, f) {
		c.findings = append(c.findings, f)
	}
}

// send sends one request and watches what every answer must keep.
func (c *checking) send(ctx context.Context, method, path, body string, header http.Header) (Answer, error) {
	a, err := c.client.Send(ctx, method, path, body, header)
	if err == nil {
		c.watch(method+" "+path, a)
	}
	return a, err
}

// watch keeps account of an answer. It may be called concurrently.
func (c *checking) watch(request string, a Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.Status < http.StatusBadRequest {
		return
	}
	c.errors++
	if _, err := a.Code(); err != nil && len(c.problems) < maxFindings {
		c.problems = append(c.problems, newFinding(request, "application/problem+json with type, title, status and code", a.Header.Get("Content-Type")+" "+a.String()))
	}
	if a.Status != http.StatusServiceUnavailable {
		return
	}
	c.overloaded++
	if after := a.Header.Get("Retry-After"); !isWhole(after) && len(c.hasty) < maxFindings {
		c.hasty = append(c.hasty, newFinding(request, "Retry-After with whole seconds", fmt.Sprintf("Retry-After %q", after)))
	}
}

func isWhole(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0
}

// order sends an order. One that is turned away with 503 was not placed, by the contract, and is sent again for a while.
func (c *checking) order(ctx context.Context, o Order) (Answer, error) {
	return c.orderAs(ctx, o, o.Body(), o.Header())
}

// orderAs is like order, with a body and headers that are written in another way.
func (c *checking) orderAs(ctx context.Context, o Order, body string, header http.Header) (Answer, error) {
	deadline := time.Now().Add(c.patienceLeft())
	for {
		a, err := c.send(ctx, http.MethodPost, "/orders", body, header)
		if err == nil && a.Status == http.StatusCreated {
			c.sold(o)
		}
		if err != nil || a.Status != http.StatusServiceUnavailable {
			return a, err
		}
		if !time.Now().Before(deadline) {
			c.exhaust()
			return a, nil
		}
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// patienceLeft is that for the next order: none when one was turned away all the time, for the next will be, too, and each
// would take as long.
func (c *checking) patienceLeft() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exhausted {
		return 0
	}
	return c.patience
}

func (c *checking) exhaust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exhausted = true
}

func (c *checking) sold(o Order) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.created++
	if o.Product == c.plain.ID {
		c.units += o.Quantity
	}
}

// accept sends an order that must be accepted, and returns its receipt; false: it was not.
func (c *checking) accept(ctx context.Context, o Order) (Receipt, bool, error) {
	a, err := c.order(ctx, o)
	if err != nil {
		return Receipt{}, false, err
	}
	r, ok := c.receipt(o.String(), a, http.StatusCreated)
	return r, ok, nil
}

// receipt reads an answer that must be a receipt with this status.
func (c *checking) receipt(request string, a Answer, status int) (Receipt, bool) {
	r, err := a.Receipt()
	if a.Status != status || err != nil {
		c.differ(request, fmt.Sprintf("%d and a receipt", status), a.String())
		return r, false
	}
	return r, true
}

// refuse sends an order that must be refused so. An empty code stands for any.
func (c *checking) refuse(ctx context.Context, o Order, status int, code string) error {
	a, err := c.order(ctx, o)
	if err != nil {
		return err
	}
	c.refused(o.String(), a, status, code)
	return nil
}

// refused checks status and code of an error answer.
func (c *checking) refused(request string, a Answer, status int, code string) bool {
	if a.Status == status && (code == "" || a.looseCode() == code) {
		return true
	}
	c.differ(request, fmt.Sprintf("%d %s", status, code), a.String())
	return false
}

// String names the order in a finding.
func (o Order) String() string {
	text := "POST /orders " + o.Body()
	if o.Key != "" {
		text += " with a key"
	}
	return text
}

// left returns the stock of a product as the service shows it.
func (c *checking) left(ctx context.Context, product int64) (int64, error) {
	a, err := c.send(ctx, http.MethodGet, productPath(product), "", nil)
	if err != nil {
		return 0, err
	}
	shown, problem := readProduct(a)
	if problem != "" {
		return 0, skipError{"the stock is not known: see rule product"}
	}
	return shown.Stock, nil
}

// wantShown checks the stock of a product as the service shows it.
func (c *checking) wantShown(ctx context.Context, product, left int64) error {
	shown, err := c.left(ctx, product)
	if err == nil && shown != left {
		c.differ("GET "+productPath(product), fmt.Sprintf("a stock of %d", left), fmt.Sprint(shown))
	}
	return err
}

// wantLeft checks in the database how many orders of a product there are, and its stock; without one, the stock as it is
// shown.
func (c *checking) wantLeft(ctx context.Context, product, orders, left int64) error {
	if c.cfg.Stock == nil {
		return c.wantShown(ctx, product, left)
	}
	there, stored, err := c.cfg.Stock.Count(ctx, product)
	if err != nil {
		return err
	}
	if there != orders || stored != left {
		c.differ(fmt.Sprintf("product %d in the database", product), fmt.Sprintf("%d orders, a stock of %d", orders, left), fmt.Sprintf("%d orders, a stock of %d", there, stored))
	}
	return nil
}

// object reads a 200 answer that must be a JSON object.
func object(a Answer) (map[string]any, string) {
	if a.Status != http.StatusOK {
		return nil, a.String()
	}
	if contentType := mediaType(a.Header); contentType != "application/json" {
		return nil, fmt.Sprintf("%d with content type %q", a.Status, contentType)
	}
	var members map[string]any
	if err := json.Unmarshal(a.Body, &members); err != nil || members == nil {
		return nil, a.String()
	}
	return members, ""
}

func productPath(id int64) string { return fmt.Sprintf("/products/%d", id) }
func orderPath(id int64) string   { return fmt.Sprintf("/orders/%d", id) }
