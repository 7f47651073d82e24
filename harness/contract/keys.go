package contract

import (
	"context"
	"fmt"
	"net/http"
	"slices"
)

const (
	outOfStock   = "out_of_stock"
	priceChanged = "price_changed"
	keyConflict  = "idempotency_conflict"
)

var keyRules = []Rule{
	{Name: "replay", Group: Keys, Promise: "the same key and body again: 200, the same receipt, Idempotent-Replayed: true", after: []string{"order"}, check: checkReplay},
	{Name: "key-conflict", Group: Keys, Promise: "the same key with another body is 409 idempotency_conflict", after: []string{"order"}, check: checkKeyConflict},
	{Name: "refused-key", Group: Keys, Promise: "an order that was refused does not bind its key", after: []string{"right-price", "price-changed"}, check: checkRefusedKey},
	{Name: "replay-sold-out", Group: Keys, Promise: "a key that has an order gets it, also when the product is sold out", after: []string{"right-price", "replay", "sold-out"}, check: checkReplaySoldOut},
}

func checkReplay(ctx context.Context, c *checking) error {
	o := c.buy(c.plain.ID)
	a, err := c.order(ctx, o)
	if err != nil {
		return err
	}
	first, ok := c.receipt(o.String(), a, http.StatusCreated)
	if !ok {
		return nil
	}
	if replayed := a.Header.Get("Idempotent-Replayed"); replayed != "" {
		c.differ(o.String(), "no Idempotent-Replayed in the answer to a new order", fmt.Sprintf("%q", replayed))
	}
	for range 2 {
		if err := c.replayed(ctx, o, first); err != nil {
			return err
		}
	}
	return nil
}

// replayed sends an order again that exists, and must get it.
func (c *checking) replayed(ctx context.Context, o Order, first Receipt) error {
	a, err := c.order(ctx, o)
	if err != nil {
		return err
	}
	request := o.String() + " again"
	again, ok := c.receipt(request, a, http.StatusOK)
	if !ok {
		return nil
	}
	if replayed := a.Header.Get("Idempotent-Replayed"); replayed != "true" {
		c.differ(request, "Idempotent-Replayed: true", fmt.Sprintf("%q", replayed))
	}
	if !again.Same(first) {
		c.differ(request, fmt.Sprintf("%+v", first), fmt.Sprintf("%+v", again))
	}
	return nil
}

func checkKeyConflict(ctx context.Context, c *checking) error {
	bound := c.buy(c.plain.ID)
	if _, ok, err := c.accept(ctx, bound); err != nil || !ok {
		return err
	}
	for _, o := range c.others(bound) {
		if err := c.refuse(ctx, o, http.StatusConflict, keyConflict); err != nil {
			return err
		}
	}
	return nil
}

// others are orders that differ from one, and with a key of their own would be accepted: the contract does not say whether
// a service looks for the key first, or for the buyer and the price.
func (c *checking) others(than Order) []Order {
	larger := than
	larger.Quantity++
	others := []Order{larger}
	if c.plain.PriceCents > 0 {
		priced := than
		priced.Price = c.plain.PriceCents
		others = append(others, priced)
	}
	if i := slices.IndexFunc(c.cfg.Users, func(id int64) bool { return id != than.User }); i >= 0 {
		another := than
		another.User = c.cfg.Users[i]
		others = append(others, another)
	}
	return others
}

func checkRefusedKey(ctx context.Context, c *checking) error {
	price, err := c.price()
	if err != nil {
		return err
	}
	o := c.buy(c.plain.ID)
	o.Price = price + 1
	if err := c.refuse(ctx, o, http.StatusConflict, priceChanged); err != nil {
		return err
	}
	o.Price = price
	_, _, err = c.accept(ctx, o)
	return err
}

func checkReplaySoldOut(ctx context.Context, c *checking) error {
	product, err := c.exactly(ctx, 1)
	if err != nil {
		return err
	}
	o := c.buy(product.ID)
	o.Price = product.PriceCents
	first, ok, err := c.accept(ctx, o)
	if err != nil || !ok {
		return err
	}
	if err := c.refuse(ctx, c.buy(product.ID), http.StatusConflict, outOfStock); err != nil {
		return err
	}
	if err := c.replayed(ctx, o, first); err != nil {
		return err
	}
	return c.wantLeft(ctx, product.ID, 1, 0)
}
