package conformance

import (
	"net/http"
	"strings"
	"testing"

	"example.com/flashsale/harness/contract"
)

// testErrors sends what must be refused, and checks that nothing of it was done.
func testErrors(t *testing.T, s *suite) {
	f := s.start(t)
	f.checkRules(contract.In(contract.Refusals, contract.All))
	f.sub("GET /", func(f *fixture) {
		wantProblem(f.T, f.mustSend(http.MethodGet, "/", "", nil), http.StatusNotFound, "route_not_found")
	})
}

// testInternal breaks the schema under the stage: it must say nothing of its inside, and work again once mended.
func testInternal(t *testing.T, s *suite) {
	f := s.start(t)
	product := f.product(2)
	f.mustBuy(contract.Buy(product))
	if _, err := f.db.Exec(t.Context(), `ALTER TABLE orders RENAME TO misplaced`); err != nil {
		t.Fatal(err)
	}
	o := contract.Buy(product)
	a := f.mustOrder(o)
	wantProblem(t, a, http.StatusInternalServerError, "internal")
	for _, secret := range []string{"orders", "relation", "SQLSTATE", "42P01", "INSERT", ".go"} {
		if strings.Contains(string(a.Body), secret) {
			t.Errorf("the answer shows the inside (%s): %s", secret, a.Body)
		}
	}
	if _, err := f.db.Exec(t.Context(), `ALTER TABLE misplaced RENAME TO orders`); err != nil {
		t.Fatal(err)
	}
	f.mustBuy(o)
	f.wantSold(product, 2, 0)
}
