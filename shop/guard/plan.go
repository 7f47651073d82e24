package guard

import (
	"context"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"
)

// item is one order that waits for its batch.
type item struct {
	ctx     context.Context //nolint:containedctx // its submitter waits for the item
	req     order.Request
	hash    [32]byte
	total   int64
	done    chan struct{} // receives once, when the item is answered
	receipt order.Receipt
	err     error
}

func (it *item) answer(r order.Receipt, err error) {
	it.receipt, it.err = r, err
	it.done <- struct{}{}
}

// replay answers from an order that holds the item's key; same says that it
// was made by the same request.
func (it *item) replay(r order.Receipt, same bool) {
	if !same {
		it.answer(order.Receipt{}, settled{store.KeyConflict()})
		return
	}
	r.Replayed = true
	it.answer(r, nil)
}

// answerPast answers from the order that holds the buyer's key, if there is
// one, else with err.
func (it *item) answerPast(past map[string]store.Past, err error) {
	if earlier, found := past[it.req.Key]; found && !it.req.ServerKey {
		it.replay(earlier.Receipt, earlier.Hash == string(it.hash[:]))
		return
	}
	it.answer(order.Receipt{}, settled{err})
}

func answerAll(items []*item, err error) {
	for _, it := range items {
		it.answer(order.Receipt{}, err)
	}
}

// alive refuses the items whose time ran out while they waited, and returns
// the others.
func alive(items []*item) []*item {
	live := items[:0]
	for _, it := range items {
		if it.ctx.Err() != nil {
			it.answer(order.Receipt{}, order.Overload("the order waited too long and was not executed, try again"))
			continue
		}
		live = append(live, it)
	}
	return live
}

func buyerKeys(items []*item) []string {
	var keys []string
	for _, it := range items {
		if !it.req.ServerKey {
			keys = append(keys, it.req.Key)
		}
	}
	return keys
}

// plan is what a batch is to do: which orders are to be written, which are
// refused (their err says why), and which have the key of an earlier order in
// the same batch and so depend on its outcome.
type plan struct {
	taken, refused, twins []*item
}

// decide goes through the orders as they arrived and gives each what is left
// then, so that the last units go to those who asked first.
func decide(items []*item, products map[int64]order.Product) plan {
	p := plan{taken: make([]*item, 0, len(items))}
	left := make(map[int64]int64, len(products))
	for id, product := range products {
		left[id] = product.Stock
	}
	keys := make(map[string]struct{}, len(items))
	for _, it := range items {
		if !it.req.ServerKey {
			if _, twin := keys[it.req.Key]; twin {
				p.twins = append(p.twins, it)
				continue
			}
			keys[it.req.Key] = struct{}{}
		}
		product, exists := products[it.req.ProductID]
		product.Stock = left[it.req.ProductID]
		if !exists {
			it.err = store.ProductNotFound(it.req.ProductID)
		} else {
			it.err = product.Check(it.req)
		}
		if it.err != nil {
			p.refused = append(p.refused, it)
			continue
		}
		left[it.req.ProductID] -= it.req.Quantity
		it.total = product.PriceCents * it.req.Quantity
		p.taken = append(p.taken, it)
	}
	return p
}

func (p plan) empty() bool { return len(p.taken)+len(p.refused)+len(p.twins) == 0 }

// all returns every order of the batch, roughly as they arrived.
func (p plan) all() []*item {
	all := make([]*item, 0, len(p.taken)+len(p.refused)+len(p.twins))
	return append(append(append(all, p.taken...), p.refused...), p.twins...)
}

// rows returns what is to be written.
func (p plan) rows() []store.NewOrder {
	rows := make([]store.NewOrder, len(p.taken))
	for i, it := range p.taken {
		rows[i] = store.NewOrder{
			UserID: it.req.UserID, ProductID: it.req.ProductID, Quantity: it.req.Quantity,
			TotalCents: it.total, Key: it.req.Key, Hash: it.hash[:],
		}
	}
	return rows
}

// settled marks a refusal as final: the guard has looked for an earlier order
// under the buyer's key itself.
type settled struct{ error }

// Unwrap returns the refusal.
func (s settled) Unwrap() error { return s.error }
