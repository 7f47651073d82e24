package conformance

import (
	"net/http"
	"testing"
)

// racers is how many clients want the same thing at once.
const racers = 20

// testGuards races clients for stock, with each guard that is safe in the stage.
func testGuards(t *testing.T, s *suite) {
	for _, guard := range s.opt.Guards {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			f := s.start(t, "GUARD="+guard)
			f.sub("last unit", (*fixture).raceLastUnit)
			f.sub("several units", (*fixture).raceSeveralUnits)
			f.sub("retries of one key", func(f *fixture) { f.raceRetries(5) })
			f.sub("retries of the last unit's key", func(f *fixture) { f.raceRetries(1) })
			f.sub("keys twice", (*fixture).raceKeysTwice)
		})
	}
}

// raceLastUnit lets everybody want the last unit: one gets it, and only that one gets it again.
func (f *fixture) raceLastUnit() {
	for range 3 {
		product := f.product(1)
		orders := f.buyers(product, racers)
		var winner order
		var won receipt
		winners := 0
		for i, a := range f.together(orders) {
			if a.status == http.StatusCreated {
				winner, won = orders[i], f.mustReceipt(a, http.StatusCreated)
				winners++
				continue
			}
			wantProblem(f.T, a, http.StatusConflict, "out_of_stock")
		}
		if winners != 1 {
			f.Fatalf("%d clients got the last unit", winners)
		}
		f.wantReplay(f.mustOrder(winner), won)
		f.wantSold(product, 1, 0)
	}
}

// raceSeveralUnits sells seven units by twos: three orders fit, and one unit stays.
func (f *fixture) raceSeveralUnits() {
	product := f.product(7)
	orders := f.buyers(product, racers)
	for i := range orders {
		orders[i].quantity = 2
	}
	winners := 0
	for _, a := range f.together(orders) {
		if a.status == http.StatusCreated {
			winners++
			continue
		}
		wantProblem(f.T, a, http.StatusConflict, "out_of_stock")
	}
	if winners != 3 {
		f.Errorf("%d orders of 2 were accepted for 7 units", winners)
	}
	f.wantSold(product, 3, 1)
}

// raceRetries sends one order many times at once: it exists once, and everybody is told so.
func (f *fixture) raceRetries(stock int64) {
	product := f.product(stock)
	orders := make([]order, racers)
	o := buy(product)
	for i := range orders {
		orders[i] = o
	}
	f.wantOneOrder(f.together(orders))
	f.wantSold(product, 1, stock-1)
}

// wantOneOrder checks the answers to one key: all tell of one order, and one of them made it.
func (f *fixture) wantOneOrder(answers []answer) {
	f.Helper()
	created := 0
	ids := map[int64]bool{}
	for _, a := range answers {
		if a.status == http.StatusCreated {
			created++
			ids[f.mustReceipt(a, http.StatusCreated).OrderID] = true
			continue
		}
		ids[f.mustReceipt(a, http.StatusOK).OrderID] = true
	}
	if created != 1 || len(ids) != 1 {
		f.Errorf("one key was answered %d times with 201, and with the orders %v", created, ids)
	}
}

// raceKeysTwice sends ten orders twice each, all at once, for five units: five keys win, and win both times.
func (f *fixture) raceKeysTwice() {
	product := f.product(5)
	once := f.buyers(product, racers/2)
	answers := f.together(append(once, once...))
	winners := 0
	for i := range once {
		pair := []answer{answers[i], answers[i+len(once)]}
		if pair[0].status == http.StatusConflict && pair[1].status == http.StatusConflict {
			wantProblem(f.T, pair[0], http.StatusConflict, "out_of_stock")
			wantProblem(f.T, pair[1], http.StatusConflict, "out_of_stock")
			continue
		}
		// Once the stock is gone it stays gone, so a key is never refused first and accepted later.
		f.wantOneOrder(pair)
		winners++
	}
	if winners != 5 {
		f.Errorf("%d keys won 5 units", winners)
	}
	f.wantSold(product, 5, 0)
}

// buyers are n orders of one unit by different users.
func (f *fixture) buyers(product int64, n int) []order {
	orders := make([]order, n)
	for i := range orders {
		orders[i] = buy(product)
		orders[i].user = int64(i + 1)
	}
	return orders
}
