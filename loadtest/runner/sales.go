package runner

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
)

// salesEvery is how often somebody who watches a run hears of the stock.
const salesEvery = time.Second

// salesWatch tells Config.Sales about the stock from the start of a run until its audit. One goroutine does that, with a
// connection of its own.
type salesWatch struct {
	watch    *database.SalesWatch
	stock    int64 // of each product
	tell     func(database.Stock)
	requests atomic.Int64
	asked    chan struct{} // do not wait for the next second
	cancel   context.CancelFunc
	ended    sync.WaitGroup
}

// watchSales starts the watch where somebody wants it and there is a database; it returns nil otherwise. It puts itself
// between the run and cfg.Progress.
func watchSales(ctx context.Context, cfg *Config, products []database.Product) *salesWatch {
	if cfg.DB == nil || cfg.Sales == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &salesWatch{watch: cfg.DB.WatchSales(products), stock: cfg.Stock, tell: cfg.Sales, asked: make(chan struct{}, 1), cancel: cancel}
	progress := cfg.Progress
	cfg.Progress = func(p attack.Progress) {
		s.requests.Store(p.Requests())
		if progress != nil {
			progress(p)
		}
	}
	s.ended.Go(func() { s.run(ctx) })
	return s
}

func (s *salesWatch) run(ctx context.Context) {
	defer s.watch.Close()
	ticker := time.NewTicker(salesEvery)
	defer ticker.Stop()
	for {
		s.look(ctx)
		select {
		case <-ticker.C:
		case <-s.asked:
		case <-ctx.Done():
			return
		}
	}
}

// look counts orders only when there were requests enough to sell more than there is: in most sustained runs never.
func (s *salesWatch) look(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	if stock, err := s.watch.Read(bounded, s.requests.Load() >= s.stock); err == nil { // a figure that is nice to have
		s.tell(stock)
	}
}

// ask makes it look at once.
func (s *salesWatch) ask() {
	if s == nil {
		return
	}
	select {
	case s.asked <- struct{}{}:
	default:
	}
}

// stop ends the watch and waits for it. It may be called again.
func (s *salesWatch) stop() {
	if s == nil {
		return
	}
	s.cancel()
	s.ended.Wait()
}
