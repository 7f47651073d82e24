package database

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// ordersSettleAfter is when an order is there for all to see, or never will be: no stage works on one for so long.
	ordersSettleAfter = 5 * time.Second
	// salesChunk bounds how many orders are read at once, and salesChunks how many chunks in one call.
	salesChunk  = 200_000
	salesChunks = 5
	// closeTimeout bounds the farewell to the server.
	closeTimeout = time.Second
)

// Stock is what a moment shows of some products, all together.
type Stock struct {
	Left     int64
	Counted  bool  // the two below are known
	Sold     int64 // units in orders that are not cancelled
	Oversold int64 // of Sold: above what there was of each product
}

// SalesWatch counts what is sold of some products, again and again while a run goes on. It has a connection of its own,
// so that it takes none from an audit, and reads each order a few times at most: those that are older than five seconds
// are remembered, so an order that is cancelled later than that still counts. Its methods must not be called
// concurrently.
type SalesWatch struct {
	db          *DB
	ids         []int64
	initial     map[int64]int64 // units of each product at the start
	settleAfter time.Duration
	chunk       int64

	conn    *pgx.Conn       // nil: none is open
	upTo    int64           // orders up to this id are in settled
	settled map[int64]int64 // units sold of each product
	marks   []salesMark     // in order of time
}

// salesMark is the highest order number at a moment.
type salesMark struct {
	at time.Time
	id int64
}

// WatchSales returns a watch over products that NewProduct made. It asks nothing before Read is called, and must be
// closed.
func (d *DB) WatchSales(products []Product) *SalesWatch {
	w := &SalesWatch{db: d, initial: map[int64]int64{}, settled: map[int64]int64{}, settleAfter: ordersSettleAfter, chunk: salesChunk}
	for i, p := range products {
		w.ids = append(w.ids, p.ID)
		w.initial[p.ID] = p.Initial
		if i == 0 || p.First < w.upTo {
			w.upTo = p.First
		}
	}
	return w
}

// Read looks at the stock, and where count says so also at the orders, both at the same point in time. After a long run
// in which nothing was counted, the first calls that count may not know yet. It blocks until the database has answered
// or ctx ends; after an error the next call connects anew.
func (w *SalesWatch) Read(ctx context.Context, count bool) (Stock, error) {
	stock, err := w.read(ctx, count)
	if err != nil {
		w.Close()
		return Stock{}, explain("cannot look at what is sold", err)
	}
	return stock, nil
}

func (w *SalesWatch) read(ctx context.Context, count bool) (stock Stock, err error) {
	if w.conn == nil {
		if w.conn, err = pgx.ConnectConfig(ctx, w.db.pool.Config().ConnConfig); err != nil {
			return Stock{}, err
		}
	}
	asOfNow := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, w.conn, asOfNow, func(tx pgx.Tx) error {
		var last int64
		err := tx.QueryRow(ctx, `SELECT (SELECT coalesce(sum(stock), 0)::bigint FROM products WHERE id = ANY($1)),
			(SELECT coalesce(max(id), 0) FROM orders)`, w.ids).Scan(&stock.Left, &last)
		if err != nil {
			return err
		}
		settledTo := w.mark(time.Now(), last)
		if !count {
			return nil
		}
		return w.count(ctx, tx, settledTo, last, &stock)
	})
	return stock, err
}

// mark remembers the highest order number and returns the one up to which nothing changes any more.
func (w *SalesWatch) mark(now time.Time, last int64) int64 {
	w.marks = append(w.marks, salesMark{now, last})
	for len(w.marks) > 1 && now.Sub(w.marks[1].at) >= w.settleAfter {
		w.marks = w.marks[1:]
	}
	if now.Sub(w.marks[0].at) < w.settleAfter {
		return 0
	}
	return w.marks[0].id
}

// count takes over what has settled, and adds the orders after that.
func (w *SalesWatch) count(ctx context.Context, tx pgx.Tx, settledTo, last int64, stock *Stock) error {
	for range salesChunks {
		if w.upTo >= settledTo {
			break
		}
		to := min(w.upTo+w.chunk, settledTo)
		units, err := w.units(ctx, tx, w.upTo, to)
		if err != nil {
			return err
		}
		for id, n := range units {
			w.settled[id] += n
		}
		w.upTo = to
	}
	if w.upTo < settledTo {
		return nil
	}
	recent, err := w.units(ctx, tx, w.upTo, last)
	if err != nil {
		return err
	}
	stock.Counted = true
	for id, initial := range w.initial {
		sold := w.settled[id] + recent[id]
		stock.Sold += sold
		stock.Oversold += max(sold-initial, 0)
	}
	return nil
}

// units returns how many units of each product are in the orders above one id and up to another.
func (w *SalesWatch) units(ctx context.Context, tx pgx.Tx, above, upTo int64) (map[int64]int64, error) {
	units := map[int64]int64{}
	rows, err := tx.Query(ctx, `SELECT product_id, sum(quantity)::bigint FROM orders
		WHERE product_id = ANY($1) AND id > $2 AND id <= $3 AND status <> 'cancelled' GROUP BY product_id`, w.ids, above, upTo)
	if err != nil {
		return nil, err
	}
	var id, n int64
	_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
		units[id] = n
		return nil
	})
	return units, err
}

// Close ends the connection, if there is one, and waits for it, a second at most.
func (w *SalesWatch) Close() {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = w.conn.Close(ctx) // nobody is there to be told
	w.conn = nil
}
