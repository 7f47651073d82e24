package guard

import (
	"context"
	"errors"

	"example.com/flashsale/shop/order"
)

// Replayer answers a request from the order that already holds its key.
type Replayer interface {
	Replay(ctx context.Context, req order.Request) (receipt order.Receipt, found bool, err error)
}

// Once runs place. Where that refuses the order, or finds its key taken, the
// order that already holds the key wins over the refusal: sold out is no answer
// to a buyer who has bought. This costs accepted orders nothing.
func Once(ctx context.Context, past Replayer, req order.Request,
	place func(context.Context, order.Request) (order.Receipt, error),
) (order.Receipt, error) {
	receipt, err := place(ctx, req)
	var final settled
	if err == nil || req.ServerKey || !refused(order.KindOf(err)) || errors.As(err, &final) {
		return receipt, err
	}
	earlier, found, lookup := past.Replay(ctx, req)
	if lookup != nil {
		return order.Receipt{}, lookup
	}
	if !found {
		return order.Receipt{}, err
	}
	return earlier, nil
}

// refused says that the order was certainly not placed, for a reason that the
// buyer's earlier order overrides.
func refused(k order.Kind) bool {
	switch k {
	case order.DuplicateKey, order.OutOfStock, order.PriceChanged, order.UserNotFound, order.ProductNotFound:
		return true
	default:
		return false
	}
}
