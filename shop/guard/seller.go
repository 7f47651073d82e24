package guard

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"example.com/flashsale/shop/order"
	"example.com/flashsale/shop/store"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// resolveTimeout bounds finding out what became of a lost COMMIT.
	resolveTimeout = 1500 * time.Millisecond
	resolvePause   = 50 * time.Millisecond
	// maxSoldOut bounds the products that are remembered as sold out.
	maxSoldOut = 10_000
)

// seller sells batches, one at a time.
type seller struct {
	db    *store.Store
	opt   BatchOptions
	log   *slog.Logger
	sizes prometheus.Histogram
	lost  *prometheus.CounterVec

	selling sync.Mutex
	soldOut map[int64]time.Time // products seen with no stock, until when that counts
}

func newSeller(d Deps) *seller {
	s := &seller{
		db: d.Store, opt: d.Batch.withDefaults(), log: d.Log, soldOut: make(map[int64]time.Time),
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "flashsale_batch_orders", Help: "Orders that one transaction decided.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_batch_lost_commits_total", Help: "Batches whose COMMIT was not answered, by what was found out later.",
		}, []string{"found"}),
	}
	if d.Metrics != nil {
		d.Metrics.MustRegister(s.sizes, s.lost)
	}
	return s
}

// sell decides one batch of orders for these products. It calls gather once it
// holds their locks, so that the batch is what has arrived by then. Every order
// that gather returns is answered exactly once, but for those that it passes
// to putBack, which come again in a later batch. sell blocks for a few seconds
// at most.
func (s *seller) sell(ids []int64, gather func(map[int64]struct{}) []*item, putBack func([]*item)) {
	s.selling.Lock()
	defer s.selling.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.Timeout+time.Second)
	defer cancel()
	ids, gone := s.splitSoldOut(ids)
	if len(gone) > 0 {
		s.refuseSoldOut(ctx, alive(gather(set(gone))))
	}
	if len(ids) == 0 {
		return
	}
	tx, products, err := s.db.LockProducts(ctx, ids)
	if err != nil {
		// Nobody is in a batch yet: whatever the reason, nothing was executed.
		answerAll(gather(set(ids)), &order.Error{Kind: order.Overloaded, Detail: "the product could not be locked in time, try again", Op: "sell batch", Err: err})
		return
	}
	defer tx.Release(ctx)
	p := decide(alive(gather(set(ids))), products)
	if p.empty() {
		return
	}
	s.sizes.Observe(float64(len(p.taken) + len(p.refused)))
	receipts, past, err := tx.Commit(ctx, p.rows(), buyerKeys(p.refused))
	tx.Release(ctx)
	switch {
	case err == nil:
		s.remember(products, p, receipts)
		putBack(s.settle(ctx, p, receipts, past))
	case order.KindOf(err) == order.DuplicateKey:
		putBack(s.answerPast(ctx, p))
	case order.KindOf(err) == order.Timeout:
		s.resolve(p, ids, err)
	default:
		answerAll(p.all(), err)
	}
}

// settle answers a batch that was committed: receipts are those of p.taken. It
// returns the orders that must be decided again.
func (s *seller) settle(ctx context.Context, p plan, receipts []order.Receipt, past map[string]store.Past) (again []*item) {
	first := make(map[string]*item, len(p.twins)) // accepted orders that have twins
	for _, t := range p.twins {
		first[t.req.Key] = nil
	}
	var strangers []*item // their users do not exist, so they were not written
	for i, it := range p.taken {
		receipt := receipts[i]
		if receipt.OrderID == 0 {
			strangers = append(strangers, it)
			continue
		}
		if _, has := first[it.req.Key]; has {
			first[it.req.Key] = &item{hash: it.hash, receipt: receipt}
		}
		it.answer(receipt, nil)
	}
	for _, it := range p.refused {
		// What strangers were given may be enough for someone behind them.
		if len(strangers) > 0 && order.KindOf(it.err) == order.OutOfStock {
			again = append(again, it)
			continue
		}
		it.answerPast(past, it.err)
	}
	for _, it := range p.twins {
		if f := first[it.req.Key]; f != nil {
			it.replay(f.receipt, f.hash == it.hash)
		} else {
			again = append(again, it)
		}
	}
	s.refuseStrangers(ctx, strangers)
	return again
}

// refuseStrangers answers orders whose users do not exist, unless an earlier
// order holds their key.
func (s *seller) refuseStrangers(ctx context.Context, items []*item) {
	past, err := s.past(ctx, items)
	for _, it := range items {
		if err != nil {
			it.answer(order.Receipt{}, err)
			continue
		}
		it.answerPast(past, store.UserNotFound(it.req.UserID))
	}
}

// answerPast answers those orders of a batch whose keys have orders already,
// because of which nothing was written. It returns the others.
func (s *seller) answerPast(ctx context.Context, p plan) (again []*item) {
	all := p.all()
	past, err := s.past(ctx, all)
	if err == nil && len(past) == 0 {
		err = &order.Error{Kind: order.Overloaded, Detail: "another request with a key of this batch is under way, try again", Op: "sell batch"}
	}
	if err != nil {
		answerAll(all, err)
		return nil
	}
	for _, it := range all {
		if _, found := past[it.req.Key]; found && !it.req.ServerKey {
			it.answerPast(past, nil)
		} else {
			again = append(again, it)
		}
	}
	return again
}

// resolve finds out what became of a batch whose COMMIT was not answered, on
// another connection. What it cannot find out in time stays a Timeout.
func (s *seller) resolve(p plan, ids []int64, lost error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	keys := make([]string, len(p.taken))
	for i, it := range p.taken {
		keys[i] = it.req.Key
	}
	again := order.Overload("the database connection was lost and nothing was written, try again")
	past, err := s.outcome(ctx, ids, keys)
	if err != nil {
		s.lost.WithLabelValues("unknown").Inc()
		s.log.Error("a batch was lost and its outcome is not known", "orders", len(keys), "error", lost, "then", err)
		answerAll(p.taken, lost)
	} else {
		s.lost.WithLabelValues(map[bool]string{true: "committed", false: "rolled_back"}[len(past) > 0]).Inc()
		s.log.Warn("a batch was lost, its outcome was found", "orders", len(keys), "committed", len(past), "error", lost)
		for _, it := range p.taken {
			earlier, found := past[it.req.Key]
			switch {
			case !found:
				it.answer(order.Receipt{}, again)
			case earlier.Hash != string(it.hash[:]):
				it.answer(order.Receipt{}, store.KeyConflict())
			default:
				it.answer(earlier.Receipt, nil)
			}
		}
	}
	answerAll(p.refused, again)
	answerAll(p.twins, again)
}

// outcome asks until it gets an answer or ctx ends: what broke one connection
// may break the next.
func (s *seller) outcome(ctx context.Context, ids []int64, keys []string) (map[string]store.Past, error) {
	pause := time.NewTicker(resolvePause)
	defer pause.Stop()
	for {
		past, err := s.db.Outcome(ctx, ids, keys)
		if err == nil {
			return past, nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// past looks up the orders that hold the buyers' keys of these items.
func (s *seller) past(ctx context.Context, items []*item) (map[string]store.Past, error) {
	keys := buyerKeys(items)
	if len(keys) == 0 {
		return nil, nil
	}
	return s.db.PastOrders(ctx, keys)
}

// remember keeps which products a committed batch left without stock.
func (s *seller) remember(products map[int64]order.Product, p plan, receipts []order.Receipt) {
	if s.opt.SoldOutFor <= 0 {
		return
	}
	for i, it := range p.taken {
		if receipts[i].OrderID != 0 {
			product := products[it.req.ProductID]
			product.Stock -= it.req.Quantity
			products[it.req.ProductID] = product
		}
	}
	if len(s.soldOut) > maxSoldOut {
		clear(s.soldOut)
	}
	for id, product := range products {
		if product.Stock == 0 {
			s.soldOut[id] = time.Now().Add(s.opt.SoldOutFor)
		}
	}
}

// splitSoldOut divides products into those to look at and those that are known
// to be sold out.
func (s *seller) splitSoldOut(ids []int64) (open, gone []int64) {
	if len(s.soldOut) == 0 {
		return ids, nil
	}
	now := time.Now()
	for _, id := range ids {
		until, known := s.soldOut[id]
		switch {
		case known && now.Before(until):
			gone = append(gone, id)
			continue
		case known:
			delete(s.soldOut, id)
		}
		open = append(open, id)
	}
	return open, gone
}

// refuseSoldOut answers orders for products without stock, with one look-up of
// their keys and no lock.
func (s *seller) refuseSoldOut(ctx context.Context, items []*item) {
	past, err := s.past(ctx, items)
	for _, it := range items {
		if err != nil {
			it.answer(order.Receipt{}, err)
			continue
		}
		it.answerPast(past, order.SoldOut())
	}
}

func set(ids []int64) map[int64]struct{} {
	m := make(map[int64]struct{}, len(ids))
	for _, id := range ids {
		m[id] = struct{}{}
	}
	return m
}
