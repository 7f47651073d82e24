package conformance

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"example.com/flashsale/harness/contract"
)

// stockroom makes and counts the products of a fixture.
type stockroom struct{ *fixture }

// Make makes a product.
func (s stockroom) Make(ctx context.Context, stock int64) (contract.Product, error) {
	p := contract.Product{Name: "test", PriceCents: price, Stock: stock}
	err := s.db.QueryRow(ctx, insertProduct, price, stock).Scan(&p.ID)
	return p, err
}

// Count counts a product's orders and what is left of it.
func (s stockroom) Count(ctx context.Context, product int64) (orders, left int64, err error) {
	err = s.db.QueryRow(ctx, `SELECT (SELECT count(*) FROM orders WHERE product_id = p.id), stock FROM products AS p WHERE id = $1`, product).Scan(&orders, &left)
	return orders, left, err
}

// checkRules checks rules of the HTTP contract, each as a subtest. A stage keeps all of them, and the database shows as
// many new orders as were confirmed. No client is turned away: there are too few of them.
func (f *fixture) checkRules(rules []contract.Rule) {
	f.Helper()
	before := f.number(`SELECT count(*) FROM orders`)
	users := make([]int64, racers)
	for i := range users {
		users[i] = int64(i + 1)
	}
	report, err := contract.Check(f.Context(), contract.Config{URL: f.process.URL, Users: users, Stock: stockroom{f}}, rules)
	if err != nil {
		f.Fatal(err)
	}
	for _, result := range report.Results {
		f.Run(result.Rule.Name, func(t *testing.T) {
			for _, finding := range result.Findings {
				t.Error(finding)
			}
			if result.Outcome == contract.Skipped && result.Rule.Name != "retry-after" {
				t.Errorf("was not checked: %s", result.Reason)
			}
		})
	}
	if report.Overloaded > 0 {
		f.Errorf("%d requests of few clients were answered 503", report.Overloaded)
	}
	if made := f.number(`SELECT count(*) FROM orders`) - before; made != report.Created {
		f.Errorf("%d new orders in the database, want %d", made, report.Created)
	}
}

// testContract buys, reads back and buys again.
func testContract(t *testing.T, s *suite) {
	f := s.start(t)
	f.checkRules(contract.In(contract.Orders, contract.Keys))
	f.sub("replay after the price has changed", (*fixture).checkPriceReplay)
	f.sub("seeded product", (*fixture).checkSeed)
}

// checkPriceReplay asks again for an order of a product whose price has changed since.
func (f *fixture) checkPriceReplay() {
	product := f.product(2)
	o := contract.Order{User: 3, Product: product, Quantity: 1, Price: price, Key: "at the old price"}
	first := f.mustBuy(o)
	if _, err := f.db.Exec(f.Context(), `UPDATE products SET price_cents = $2 WHERE id = $1`, product, price+1); err != nil {
		f.Fatal(err)
	}
	if again := f.mustReceipt(f.mustOrder(o), http.StatusOK); !again.Same(first) {
		f.Errorf("the key's second answer is %+v, the first was %+v", again, first)
	}
	f.wantSold(product, 1, 1)
}

func (f *fixture) wantProduct(product, left int64) {
	f.Helper()
	var shown contract.Product
	f.getJSON(fmt.Sprintf("/products/%d", product), &shown)
	if shown.ID != product || shown.Stock != left {
		f.Errorf("GET /products/%d gives %+v, want a stock of %d", product, shown, left)
	}
}

// checkSeed buys what a fresh database offers.
func (f *fixture) checkSeed() {
	receipt := f.mustBuy(contract.Order{User: 10_000, Product: 1, Quantity: 1})
	if receipt.TotalCents != 1999 {
		f.Errorf("product 1 costs %d cents, want 1999", receipt.TotalCents)
	}
	f.wantSold(1, 1, 999)
	if users := f.number(`SELECT count(*) FROM users WHERE id BETWEEN 1 AND 10000`); users != 10_000 {
		f.Errorf("%d users, want 10000", users)
	}
}
