package contract

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// Racers is how many clients want the same thing at once.
const Racers = 20

var raceRules = []Rule{
	{Name: "one-key", Group: Races, Promise: "many requests with one key at once make one order, and all get it", after: []string{"order", "replay"}, check: raceOneKey},
	{Name: "one-key-last-unit", Group: Races, Promise: "one key, sent many times at once for the last unit, wins it each time", after: []string{"one-key", "replay-sold-out"}, check: raceOneKeyLastUnit},
	{Name: "last-unit", Group: Races, Promise: "of many who want the last unit one gets it, and gets it again", after: []string{"order", "replay-sold-out"}, check: raceLastUnit},
	{Name: "keys-twice", Group: Races, Promise: "a key that wins one of few units wins it each time it is sent", after: []string{"one-key-last-unit", "last-unit"}, check: raceKeysTwice},
	{Name: "flash-sale", Group: Races, Promise: "a small sale sells what there is, and not one unit more", after: []string{"order", "more-than-stock"}, check: raceFlashSale},
}

// Together sends the orders at once, each by send, and returns their answers in the same order. It blocks until all are
// through; all must be answered.
func Together(ctx context.Context, orders []Order, send func(context.Context, Order) (Answer, error)) ([]Answer, error) {
	return Begin(ctx, orders, send)()
}

// Begin is like Together, but returns without waiting. The function that it returns waits; it must be called, and may be
// called again.
func Begin(ctx context.Context, orders []Order, send func(context.Context, Order) (Answer, error)) (wait func() ([]Answer, error)) {
	answers, failures := make([]Answer, len(orders)), make([]error, len(orders))
	barrier := make(chan struct{})
	var clients sync.WaitGroup
	for i, o := range orders {
		clients.Go(func() {
			<-barrier
			answers[i], failures[i] = send(ctx, o)
		})
	}
	close(barrier)
	return func() ([]Answer, error) {
		clients.Wait()
		return answers, errors.Join(failures...)
	}
}

// buyers are n orders of so many units.
func (c *checking) buyers(product int64, n int, quantity int64) []Order {
	orders := make([]Order, n)
	for i := range orders {
		orders[i] = c.buy(product)
		orders[i].Quantity = quantity
	}
	return orders
}

// raceOneKey sends one order many times at once.
func raceOneKey(ctx context.Context, c *checking) error {
	if c.cfg.Stock == nil {
		return c.raceRetries(ctx, c.plain.ID)
	}
	product, err := c.exactly(ctx, 5)
	if err != nil {
		return err
	}
	if err := c.raceRetries(ctx, product.ID); err != nil {
		return err
	}
	return c.wantLeft(ctx, product.ID, 1, 4)
}

func raceOneKeyLastUnit(ctx context.Context, c *checking) error {
	product, err := c.exactly(ctx, 1)
	if err != nil {
		return err
	}
	if err := c.raceRetries(ctx, product.ID); err != nil {
		return err
	}
	return c.wantLeft(ctx, product.ID, 1, 0)
}

func (c *checking) raceRetries(ctx context.Context, product int64) error {
	o := c.buy(product)
	orders := make([]Order, Racers)
	for i := range orders {
		orders[i] = o
	}
	answers, err := Together(ctx, orders, c.order)
	if err != nil {
		return err
	}
	c.wantOneOrder(fmt.Sprintf("%s, %d times at once", o, Racers), answers)
	return nil
}

// wantOneOrder checks the answers to one key: all tell of one order, and one of them made it.
func (c *checking) wantOneOrder(request string, answers []Answer) {
	created := 0
	ids := map[int64]bool{}
	for _, a := range answers {
		status := http.StatusOK
		if a.Status == http.StatusCreated {
			created++
			status = http.StatusCreated
		}
		r, ok := c.receipt(request, a, status)
		if !ok {
			return
		}
		ids[r.OrderID] = true
	}
	if created != 1 || len(ids) != 1 {
		c.differ(request, "one order, once with 201 and then with 200", fmt.Sprintf("%d orders, %d times 201", len(ids), created))
	}
}

// raceLastUnit lets everybody want the last unit: one gets it, and only that one gets it again.
func raceLastUnit(ctx context.Context, c *checking) error {
	for range 3 {
		product, err := c.exactly(ctx, 1)
		if err != nil {
			return err
		}
		won, err := c.sale(ctx, product.ID, Racers, 1, 1)
		if err != nil || len(won) != 1 {
			return err
		}
		for o, first := range won {
			if err := c.replayed(ctx, o, first); err != nil {
				return err
			}
		}
		if err := c.wantLeft(ctx, product.ID, 1, 0); err != nil {
			return err
		}
	}
	return nil
}

// sale lets so many buyers order a quantity each at once, of whom so many must win and the others be told that it is sold
// out. It returns who won.
func (c *checking) sale(ctx context.Context, product int64, buyers int, quantity, winners int64) (map[Order]Receipt, error) {
	orders := c.buyers(product, buyers, quantity)
	answers, err := Together(ctx, orders, c.order)
	if err != nil {
		return nil, err
	}
	request := fmt.Sprintf("%d buyers of %d at once", buyers, quantity)
	won := map[Order]Receipt{}
	for i, a := range answers {
		if a.Status != http.StatusCreated {
			c.refused(request, a, http.StatusConflict, outOfStock)
			continue
		}
		if r, ok := c.receipt(request, a, http.StatusCreated); ok {
			won[orders[i]] = r
		}
	}
	if int64(len(won)) != winners {
		c.differ(request, fmt.Sprintf("%d accepted", winners), fmt.Sprintf("%d accepted", len(won)))
	}
	return won, nil
}

// raceKeysTwice sends ten orders twice each, all at once, for five units: five keys win, and win both times.
func raceKeysTwice(ctx context.Context, c *checking) error {
	product, err := c.exactly(ctx, 5)
	if err != nil {
		return err
	}
	once := c.buyers(product.ID, Racers/2, 1)
	answers, err := Together(ctx, append(once, once...), c.order)
	if err != nil {
		return err
	}
	const request = "ten orders for five units, each twice at once"
	winners := 0
	for i := range once {
		pair := []Answer{answers[i], answers[i+len(once)]}
		if pair[0].Status == http.StatusConflict && pair[1].Status == http.StatusConflict {
			c.refused(request, pair[0], http.StatusConflict, outOfStock)
			c.refused(request, pair[1], http.StatusConflict, outOfStock)
			continue
		}
		// Once the stock is gone it stays gone, so a key is never refused first and accepted later.
		c.wantOneOrder(request, pair)
		winners++
	}
	if winners != 5 {
		c.differ(request, "5 keys accepted", fmt.Sprintf("%d keys accepted", winners))
	}
	return c.wantLeft(ctx, product.ID, 5, 0)
}

// raceFlashSale sells seven units by twos: three orders fit, and one unit stays. A product that may be sold out is sold
// in as large pieces as a few orders need.
func raceFlashSale(ctx context.Context, c *checking) error {
	product, err := c.forSale(ctx)
	if err != nil {
		return err
	}
	quantity := min(product.Stock/5+1, maxQuantity)
	winners := product.Stock / quantity
	if winners >= Racers {
		return skipError{fmt.Sprintf("product %d has %d units: more than %d buyers can take", product.ID, product.Stock, Racers)}
	}
	if _, err := c.sale(ctx, product.ID, Racers, quantity, winners); err != nil {
		return err
	}
	return c.wantLeft(ctx, product.ID, winners, product.Stock-winners*quantity)
}

// forSale returns a product that may be sold out.
func (c *checking) forSale(ctx context.Context) (Product, error) {
	if c.cfg.Stock != nil {
		return c.exactly(ctx, 7)
	}
	if c.cfg.SellOut == 0 {
		return Product{}, skipError{"needs a product that may be sold out"}
	}
	left, err := c.left(ctx, c.cfg.SellOut)
	if err == nil && left == 0 {
		err = skipError{fmt.Sprintf("product %d is sold out already", c.cfg.SellOut)}
	}
	return Product{ID: c.cfg.SellOut, Stock: left}, err
}
