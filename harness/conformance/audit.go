package conformance

import (
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
)

// row is an order in the database.
type row struct {
	ID         int64
	Key        string
	UserID     int64
	ProductID  int64
	Quantity   int64
	TotalCents int64
	Status     string
}

// audit compares what the clients know with what the database holds, once the stage's sessions are idle. No attempt may
// be missing: an order that none of them asked for is an error too. It returns how many orders exist although their
// clients got no clear answer, which is no error by itself.
func (f *fixture) audit(product, initial int64, attempts []attempt) (unanswered int) {
	f.Helper()
	f.settle()
	rows, err := f.db.Query(f.Context(), `SELECT id, idempotency_key AS key, user_id, product_id, quantity, total_cents, status
		FROM orders WHERE product_id = $1`, product)
	if err != nil {
		f.Fatal(err)
	}
	orders, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		f.Fatal(err)
	}
	found, unanswered := findings(orders, initial, f.stock(product), attempts)
	for i, finding := range found {
		if i == 10 {
			f.Errorf("and %d more", len(found)-i)
			break
		}
		f.Error(finding)
	}
	return unanswered
}

// findings lists what is wrong, and counts the orders that exist although their clients got no clear answer.
func findings(orders []row, initial, left int64, attempts []attempt) (found []string, unanswered int) {
	byKey := map[string]row{}
	sold := int64(0)
	for _, o := range orders {
		if _, twice := byKey[o.Key]; twice {
			found = append(found, fmt.Sprintf("key %s has several orders", o.Key))
		}
		byKey[o.Key] = o
		sold += o.Quantity
	}
	if sold+left != initial {
		found = append(found, fmt.Sprintf("%d units sold and %d left of %d", sold, left, initial))
	}
	if sold > initial {
		found = append(found, fmt.Sprintf("oversold: %d units of %d", sold, initial))
	}
	for _, a := range attempts {
		o, stored := byKey[a.Key]
		delete(byKey, a.Key)
		if finding := judge(a, o, stored); finding != "" {
			found = append(found, finding)
		}
		if stored && a.open && !a.placed() {
			unanswered++
		}
	}
	for key := range byKey {
		found = append(found, fmt.Sprintf("nobody asked for the order with key %s", key))
	}
	return found, unanswered
}

// judge says what is wrong with one attempt, given the order with its key.
func judge(a attempt, o row, stored bool) string {
	if a.bad != "" {
		return a.bad
	}
	if !a.placed() {
		if stored && !a.open {
			return fmt.Sprintf("order %d exists, but its client was told %d", o.ID, a.status)
		}
		if !a.open && a.status != http.StatusConflict && a.status != http.StatusServiceUnavailable {
			return fmt.Sprintf("a good order was answered %d", a.status)
		}
		return ""
	}
	if !stored {
		return fmt.Sprintf("order %d was confirmed with %d, but is not in the database", a.receipt.OrderID, a.status)
	}
	want := row{ID: a.receipt.OrderID, Key: a.Key, UserID: a.User, ProductID: a.Product, Quantity: a.Quantity, TotalCents: a.receipt.TotalCents, Status: a.receipt.Status}
	if o != want || o.TotalCents != a.Quantity*price {
		return fmt.Sprintf("order %+v was confirmed as %+v", o, want)
	}
	return ""
}
