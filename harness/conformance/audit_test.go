package conformance

import (
	"strings"
	"testing"

	"example.com/flashsale/harness/contract"
)

// An auditor that finds nothing is worth nothing: here are histories with one thing wrong in each.
func TestFindings(t *testing.T) {
	good := row{ID: 1, Key: "a", UserID: 1, ProductID: 2, Quantity: 1, TotalCents: price, Status: "created"}
	asked := contract.Order{User: 1, Product: 2, Quantity: 1, Key: "a"}
	confirmed := attempt{Order: asked, status: 201, receipt: contract.Receipt{OrderID: 1, Status: "created", TotalCents: price}}
	told := func(status int) attempt { return attempt{Order: asked, status: status} }
	open := attempt{Order: asked, status: 504, open: true}
	changed := func(change func(*row)) []row {
		other := good
		change(&other)
		return []row{other}
	}
	for _, test := range []struct {
		name       string
		orders     []row
		left       int64
		attempts   []attempt
		want       string // in the only finding; empty: none
		unanswered int
	}{
		{"accepted", []row{good}, 0, []attempt{confirmed}, "", 0},
		{"turned away", nil, 1, []attempt{told(503)}, "", 0},
		{"sold out", nil, 1, []attempt{told(409)}, "", 0},
		{"open and not placed", nil, 1, []attempt{open}, "", 0},
		{"open and placed", []row{good}, 0, []attempt{open}, "", 1},
		{"lost", nil, 1, []attempt{confirmed}, "not in the database", 0},
		{"refused and placed", []row{good}, 0, []attempt{told(503)}, "was told 503", 0},
		{"refused without reason", nil, 1, []attempt{told(400)}, "answered 400", 0},
		{"nobody asked", []row{good}, 0, nil, "nobody asked", 0},
		{"another user", changed(func(r *row) { r.UserID = 9 }), 0, []attempt{confirmed}, "was confirmed as", 0},
		{"another number", changed(func(r *row) { r.ID = 9 }), 0, []attempt{confirmed}, "was confirmed as", 0},
		{"another total", changed(func(r *row) { r.TotalCents = 9 }), 0, []attempt{confirmed}, "was confirmed as", 0},
		{"stock drifted", []row{good}, 1, []attempt{confirmed}, "1 units sold and 1 left of 1", 0},
		{"stock vanished", nil, 0, []attempt{told(409)}, "0 units sold and 0 left of 1", 0},
		{"bad answer", nil, 1, []attempt{{Order: asked, status: 503, bad: "no problem"}}, "no problem", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, unanswered := findings(test.orders, 1, test.left, test.attempts)
			got := strings.Join(found, "; ")
			if len(found) > 1 || (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("found %q, want %q", got, test.want)
			}
			if unanswered != test.unanswered {
				t.Errorf("%d unanswered, want %d", unanswered, test.unanswered)
			}
		})
	}
}

func TestFindingsOfOverselling(t *testing.T) {
	twice := []row{
		{ID: 1, Key: "a", UserID: 1, ProductID: 2, Quantity: 1, TotalCents: price, Status: "created"},
		{ID: 2, Key: "a", UserID: 1, ProductID: 2, Quantity: 1, TotalCents: price, Status: "created"},
	}
	found, _ := findings(twice, 1, 0, []attempt{{Order: contract.Order{Key: "a"}, status: 409}})
	got := strings.Join(found, "; ")
	for _, want := range []string{"several orders", "oversold", "2 units sold and 0 left of 1", "was told 409"} {
		if !strings.Contains(got, want) {
			t.Errorf("found %q, want %q", got, want)
		}
	}
}
