package conformance

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"example.com/flashsale/harness/contract"
)

// testTimeouts lets an outsider hold the product's row for longer than orders may take. Each order is answered in time
// with 503 or 504, a 503 has written nothing, and the stage sells on when the row is free.
func testTimeouts(t *testing.T, s *suite) {
	const timeout = 300 * time.Millisecond
	f := s.start(t, "REQUEST_TIMEOUT="+timeout.String())
	product := f.product(100)
	release := f.hold(product)
	orders := f.buyers(product, racers/2)
	attempts := make([]attempt, len(orders))
	for i, a := range f.together(orders) {
		attempts[i].Order = orders[i]
		attempts[i].learn(a)
		if a.Status != http.StatusServiceUnavailable && a.Status != http.StatusGatewayTimeout {
			t.Errorf("an order that cannot be served was answered %d: %s", a.Status, a.Body)
		}
		if a.Status == http.StatusGatewayTimeout {
			wantProblem(t, a, a.Status, "timeout")
		}
		if a.Took > timeout+atOnce {
			t.Errorf("the answer took %v with a time-out of %v", a.Took, timeout)
		}
	}
	f.wantProduct(product, 100) // reading does not wait for the row
	release()
	next := attempt{Order: contract.Buy(product)}
	eventually(t, "the stage sells again", func() bool {
		next.learn(f.mustOrder(next.Order))
		return next.placed()
	})
	f.audit(product, 100, append(attempts, next))
	// Who asks again gets the order, one for each key.
	for _, o := range orders {
		if a := f.mustOrder(o); a.Status != http.StatusCreated && a.Status != http.StatusOK {
			t.Errorf("the retry was answered %d: %s", a.Status, a.Body)
		}
	}
	f.wantSold(product, int64(len(orders))+1, 100-int64(len(orders))-1)
}

// testFullQueue fills the stage with orders that cannot finish. What does not fit is turned away at once; what does is
// served when the row is free.
func testFullQueue(t *testing.T, s *suite) {
	f := s.start(t, slices.Concat([]string{"REQUEST_TIMEOUT=12s", s.patientGuard()}, s.opt.FullQueue)...)
	product := f.product(100)
	release := f.hold(product)
	first := f.begin(f.buyers(product, 1))
	f.waitBlocked()
	orders := f.buyers(product, 32)
	answered := make(chan contract.Answer, len(orders))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, o := range orders {
		go func() {
			a, err := f.client.Order(ctx, o)
			if err != nil {
				a.Body = []byte(err.Error())
			}
			answered <- a
		}()
	}
	// The first answer comes while nothing can be sold: it must be a no, and it must not have waited.
	a := <-answered
	checkOverloaded(t, a)
	release()
	turnedAway, sold := int64(1), int64(0)
	for range len(orders) - 1 {
		a := <-answered
		switch a.Status {
		case http.StatusCreated:
			sold++
		default:
			checkOverloaded(t, a)
			turnedAway++
		}
	}
	for _, a := range first() {
		f.mustReceipt(a, http.StatusCreated)
	}
	t.Logf("%d orders were turned away, %d sold", turnedAway, sold+1)
	if sold == 0 {
		t.Error("no order waited in the queue")
	}
	f.wantSold(product, sold+1, 100-sold-1)
	f.mustBuy(contract.Buy(product))
}

func checkOverloaded(t *testing.T, a contract.Answer) {
	t.Helper()
	wantProblem(t, a, http.StatusServiceUnavailable, "overloaded")
	if seconds, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || seconds < 0 {
		t.Errorf("Retry-After %q, want whole seconds", a.Header.Get("Retry-After"))
	}
	if a.Took > atOnce {
		t.Errorf("a full queue answered after %v, want at once", a.Took)
	}
}

// testLostSessions cuts all connections to the database. The stage must recover by itself, and a key stays one order.
func testLostSessions(t *testing.T, s *suite) {
	f := s.start(t)
	product := f.product(10)
	f.mustBuy(contract.Buy(product))
	f.number(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = $1`, s.name)
	next := attempt{Order: contract.Buy(product)}
	eventually(t, "the stage sells again", func() bool {
		next.learn(f.mustOrder(next.Order))
		return next.placed()
	})
	if next.bad != "" {
		t.Error(next.bad)
	}
	f.settle()
	f.wantSold(product, 2, 8)
}
