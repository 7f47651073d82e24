package conformance

import (
	"testing"

	"example.com/flashsale/harness/contract"
)

// racers is how many clients want the same thing at once.
const racers = contract.Racers

// testGuards races clients for stock, with each guard that is safe in the stage.
func testGuards(t *testing.T, s *suite) {
	for _, guard := range s.opt.Guards {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			f := s.start(t, "GUARD="+guard)
			f.checkRules(contract.In(contract.Races))
		})
	}
}

// buyers are n orders of one unit by different users.
func (f *fixture) buyers(product int64, n int) []contract.Order {
	orders := make([]contract.Order, n)
	for i := range orders {
		orders[i] = contract.Buy(product)
		orders[i].User = int64(i + 1)
	}
	return orders
}
