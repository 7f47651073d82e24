package guard

import (
	"context"
	"errors"
	"testing"

	"example.com/flashsale/shop/order"
)

// past is a Replayer that counts what it is asked.
type past struct {
	receipt order.Receipt
	found   bool
	err     error
	asked   int
}

func (p *past) Replay(context.Context, order.Request) (order.Receipt, bool, error) {
	p.asked++
	return p.receipt, p.found, p.err
}

// TestOnce: for which refusals the earlier order wins.
func TestOnce(t *testing.T) {
	t.Parallel()
	overridden := map[order.Kind]bool{
		order.DuplicateKey: true, order.OutOfStock: true, order.PriceChanged: true,
		order.UserNotFound: true, order.ProductNotFound: true,
	}
	for kind := order.Internal; kind <= order.DuplicateKey; kind++ {
		for _, found := range []bool{true, false} {
			p := &past{receipt: order.Receipt{OrderID: 7, Replayed: true}, found: found}
			refusal := &order.Error{Kind: kind}
			r, err := Once(t.Context(), p, buy(1, "k"), func(context.Context, order.Request) (order.Receipt, error) {
				return order.Receipt{}, refusal
			})
			switch {
			case overridden[kind] != (p.asked == 1):
				t.Errorf("%v: asked for an earlier order %d times", kind, p.asked)
			case overridden[kind] && found && (err != nil || r != p.receipt):
				t.Errorf("%v: %+v, %v, want the earlier order", kind, r, err)
			case (!overridden[kind] || !found) && !errors.Is(err, refusal):
				t.Errorf("%v, earlier order %v: %v, want the refusal", kind, found, err)
			}
		}
	}
}

func TestOnceAsksNothingOfAnAcceptedOrder(t *testing.T) {
	t.Parallel()
	p := &past{found: true}
	want := order.Receipt{OrderID: 9}
	r, err := Once(t.Context(), p, buy(1, "k"), func(_ context.Context, req order.Request) (order.Receipt, error) {
		if req != buy(1, "k") {
			t.Errorf("placed %+v", req)
		}
		return want, nil
	})
	if err != nil || r != want || p.asked != 0 {
		t.Errorf("Once() = %+v, %v after %d look-ups", r, err, p.asked)
	}
}

func TestOnceTrustsAServerKey(t *testing.T) {
	t.Parallel()
	p := &past{found: true}
	req := buy(1, "k")
	req.ServerKey = true
	_, err := Once(t.Context(), p, req, func(context.Context, order.Request) (order.Receipt, error) {
		return order.Receipt{}, order.SoldOut()
	})
	wantKind(t, err, order.OutOfStock)
	if p.asked != 0 {
		t.Error("looked for an earlier order of a key that is new")
	}
}

// TestOnceTellsWhatTheLookUpSays: a conflict, or a database that fails, is the
// answer; the refusal is not known to be right.
func TestOnceTellsWhatTheLookUpSays(t *testing.T) {
	t.Parallel()
	for _, kind := range []order.Kind{order.IdempotencyConflict, order.Timeout, order.Overloaded} {
		p := &past{found: kind == order.IdempotencyConflict, err: &order.Error{Kind: kind}}
		r, err := Once(t.Context(), p, buy(1, "k"), func(context.Context, order.Request) (order.Receipt, error) {
			return order.Receipt{}, order.SoldOut()
		})
		wantKind(t, err, kind)
		if r != (order.Receipt{}) {
			t.Errorf("%v with receipt %+v", kind, r)
		}
	}
}
