package store

import (
	"errors"
	"strconv"
	"testing"

	"example.com/flashsale/shop/order"

	"golang.org/x/sync/errgroup"
)

func TestTake(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	p := s.product(t, 5, 1999)
	req := order.Request{UserID: 42, ProductID: p, Quantity: 2, PriceCents: 1999, Key: "k"}
	r, err := s.Take(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if r.OrderID <= 0 || r.Status != order.StatusCreated || r.TotalCents != 3998 || r.CreatedAt.IsZero() || r.Replayed {
		t.Errorf("Take() = %+v", r)
	}
	s.wantLeft(t, p, 3, 1)
	s.wantStored(t, r, req)
}

// wantStored checks every column of an order.
func (s *shop) wantStored(t *testing.T, r order.Receipt, req order.Request) {
	t.Helper()
	hash := req.Hash()
	if n := query[int64](t, s.admin, `SELECT count(*) FROM orders WHERE id = $1 AND user_id = $2 AND product_id = $3 AND quantity = $4
		AND total_cents = $5 AND status = 'created' AND idempotency_key = $6 AND request_hash = $7 AND created_at = $8`,
		r.OrderID, req.UserID, req.ProductID, req.Quantity, r.TotalCents, req.Key, hash[:], r.CreatedAt); n != 1 {
		t.Errorf("order %d is not stored as it was asked for: %+v, %+v", r.OrderID, r, req)
	}
}

func TestTakeRefuses(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	p := s.product(t, 5, 1999)
	if _, err := s.Take(t.Context(), buy(p, "taken")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		req  order.Request
		want order.Kind
	}{
		"too many":                {order.Request{UserID: 1, ProductID: p, Quantity: 5, Key: "k"}, order.OutOfStock},
		"cheaper before":          {order.Request{UserID: 1, ProductID: p, Quantity: 1, PriceCents: 1998, Key: "k"}, order.PriceChanged},
		"the price comes first":   {order.Request{UserID: 1, ProductID: p, Quantity: 5, PriceCents: 1998, Key: "k"}, order.PriceChanged},
		"no such product":         {order.Request{UserID: 1, ProductID: p + 1, Quantity: 1, Key: "k"}, order.ProductNotFound},
		"key taken":               {buy(p, "taken"), order.DuplicateKey},
		"key taken, other order":  {order.Request{UserID: 2, ProductID: p, Quantity: 2, Key: "taken"}, order.DuplicateKey},
		"key taken, but too many": {order.Request{UserID: 1, ProductID: p, Quantity: 5, Key: "taken"}, order.OutOfStock},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Take(t.Context(), tt.req)
			wantKind(t, err, tt.want)
			s.wantLeft(t, p, 4, 1)
		})
	}
}

// TestTakeAtTheBounds: what Validate lets pass must fit every type on the way.
func TestTakeAtTheBounds(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	p := s.product(t, order.MaxQuantity, order.MaxPriceCents)
	_, err := s.Take(t.Context(), order.Request{UserID: 1, ProductID: p, Quantity: 1, PriceCents: order.MaxPriceCents - 1, Key: "k"})
	wantKind(t, err, order.PriceChanged)
	req := order.Request{UserID: 1, ProductID: p, Quantity: order.MaxQuantity, PriceCents: order.MaxPriceCents, Key: "k"}
	r, err := s.Take(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if r.TotalCents != order.MaxQuantity*order.MaxPriceCents {
		t.Errorf("total %d, want %d", r.TotalCents, int64(order.MaxQuantity*order.MaxPriceCents))
	}
	s.wantStored(t, r, req)
	s.wantLeft(t, p, 0, 1)
}

func TestTakeSellsEachUnitOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{MaxConns: 8})
	const buyers, stock = 50, 20
	p := s.product(t, stock, 10)
	kinds := make([]order.Kind, buyers)
	var all errgroup.Group
	for i := range buyers {
		all.Go(func() error {
			_, err := s.Take(t.Context(), buy(p, strconv.Itoa(i)))
			var e *order.Error
			if errors.As(err, &e) {
				kinds[i] = e.Kind
				return nil
			}
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, k := range kinds {
		if k == order.OutOfStock {
			refused++
		}
	}
	if refused != buyers-stock {
		t.Errorf("%d were told out_of_stock, want %d: %v", refused, buyers-stock, kinds)
	}
	s.wantLeft(t, p, 0, stock)
}

// TestTakeTriesAgain: an UPDATE that does not apply although the product could
// fill the order. A trigger makes it so; in life, stock that comes and goes.
func TestTakeTriesAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t, Config{})
	p := s.product(t, 5, 10)
	if _, err := s.admin.Exec(t.Context(), `
		CREATE SEQUENCE tries;
		CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN IF nextval(''tries'') <= TG_ARGV[0]::int THEN RETURN NULL; END IF; RETURN NEW; END';
		CREATE TRIGGER skip BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION skip(5)`); err != nil {
		t.Fatal(err)
	}
	_, err := s.Take(t.Context(), buy(p, "k"))
	wantKind(t, err, order.Overloaded)
	s.wantLeft(t, p, 5, 0)
	if n := query[int64](t, s.admin, `SELECT last_value FROM tries`); n != 3 {
		t.Errorf("gave up after %d tries, want 3", n)
	}
	if _, err := s.Take(t.Context(), buy(p, "k")); err != nil { // the third of these applies
		t.Errorf("Take() = %v, want an order", err)
	}
	s.wantLeft(t, p, 4, 1)
}
