package conformance

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// testContract buys, reads back and buys again.
func testContract(t *testing.T, s *suite) {
	f := s.start(t)
	f.sub("order", (*fixture).checkOrder)
	f.sub("order without key", (*fixture).checkKeyless)
	f.sub("right price", (*fixture).checkRightPrice)
	f.sub("replay", (*fixture).checkReplay)
	f.sub("replay after sold out", (*fixture).checkSoldOutReplay)
	f.sub("seeded product", (*fixture).checkSeed)
}

func (f *fixture) checkOrder() {
	product := f.product(10)
	before := time.Now()
	receipt := f.mustBuy(order{user: 7, product: product, quantity: 3, key: "happy path"})
	if receipt.Status != "created" || receipt.TotalCents != 3*price {
		f.Errorf("receipt %+v, want status created and %d cents", receipt, 3*price)
	}
	if age := receipt.CreatedAt.Sub(before).Abs(); age > time.Minute {
		f.Errorf("created_at %v is %v off", receipt.CreatedAt, age)
	}
	var stored struct {
		OrderID    int64     `json:"order_id"`
		UserID     int64     `json:"user_id"`
		ProductID  int64     `json:"product_id"`
		Quantity   int64     `json:"quantity"`
		TotalCents int64     `json:"total_cents"`
		Status     string    `json:"status"`
		CreatedAt  time.Time `json:"created_at"`
	}
	f.getJSON(fmt.Sprintf("/orders/%d", receipt.OrderID), &stored)
	want := stored
	want.OrderID, want.UserID, want.ProductID, want.Quantity = receipt.OrderID, 7, product, 3
	want.TotalCents, want.Status = 3*price, "created"
	if stored != want || !stored.CreatedAt.Equal(receipt.CreatedAt) {
		f.Errorf("GET /orders/%d gives %+v for %+v", receipt.OrderID, stored, receipt)
	}
	f.wantProduct(product, 7)
	f.wantSold(product, 1, 7)
}

func (f *fixture) wantProduct(product, left int64) {
	f.Helper()
	var shown struct {
		ID         int64  `json:"id"`
		Name       string `json:"name"`
		PriceCents int64  `json:"price_cents"`
		Stock      int64  `json:"stock"`
	}
	f.getJSON(fmt.Sprintf("/products/%d", product), &shown)
	if shown.ID != product || shown.Name != "test" || shown.PriceCents != price || shown.Stock != left {
		f.Errorf("GET /products/%d gives %+v, want name test, price %d, stock %d", product, shown, price, left)
	}
}

// checkKeyless places the same order twice: without keys these are two orders.
func (f *fixture) checkKeyless() {
	product := f.product(5)
	first := f.mustBuy(order{user: 1, product: product, quantity: 1})
	second := f.mustBuy(order{user: 1, product: product, quantity: 1})
	if first.OrderID == second.OrderID {
		f.Errorf("two orders without a key are one: %d", first.OrderID)
	}
	f.wantSold(product, 2, 3)
}

func (f *fixture) checkRightPrice() {
	product := f.product(1)
	f.mustBuy(order{user: 1, product: product, quantity: 1, price: price})
	f.wantSold(product, 1, 0)
}

func (f *fixture) checkReplay() {
	product := f.product(5)
	o := buy(product)
	sent := f.mustOrder(o)
	first := f.mustReceipt(sent, http.StatusCreated)
	if replayed := sent.header.Get("Idempotent-Replayed"); replayed != "" {
		f.Errorf("a new order carries Idempotent-Replayed: %s", replayed)
	}
	for range 2 {
		f.wantReplay(f.mustOrder(o), first)
	}
	f.wantSold(product, 1, 4)
}

// wantReplay checks that the answer is the order that exists.
func (f *fixture) wantReplay(a answer, first receipt) {
	f.Helper()
	again := f.mustReceipt(a, http.StatusOK)
	if replayed := a.header.Get("Idempotent-Replayed"); replayed != "true" {
		f.Errorf("Idempotent-Replayed: %q, want true", replayed)
	}
	if again.OrderID != first.OrderID || again.TotalCents != first.TotalCents || again.Status != first.Status || !again.CreatedAt.Equal(first.CreatedAt) {
		f.Errorf("the key's second answer is %+v, the first was %+v", again, first)
	}
}

// checkSoldOutReplay asks again for an order of a product that is sold out since, and whose price has changed.
func (f *fixture) checkSoldOutReplay() {
	product := f.product(1)
	o := order{user: 3, product: product, quantity: 1, price: price, key: "the last unit"}
	first := f.mustBuy(o)
	wantProblem(f.T, f.mustOrder(buy(product)), http.StatusConflict, "out_of_stock")
	f.wantReplay(f.mustOrder(o), first)
	if _, err := f.db.Exec(f.Context(), `UPDATE products SET price_cents = $2 WHERE id = $1`, product, price+1); err != nil {
		f.Fatal(err)
	}
	f.wantReplay(f.mustOrder(o), first)
	f.wantSold(product, 1, 0)
}

// checkSeed buys what a fresh database offers.
func (f *fixture) checkSeed() {
	receipt := f.mustBuy(order{user: 10_000, product: 1, quantity: 1})
	if receipt.TotalCents != 1999 {
		f.Errorf("product 1 costs %d cents, want 1999", receipt.TotalCents)
	}
	f.wantSold(1, 1, 999)
	if users := f.number(`SELECT count(*) FROM users WHERE id BETWEEN 1 AND 10000`); users != 10_000 {
		f.Errorf("%d users, want 10000", users)
	}
}
