package audit

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
)

const (
	product = 7
	price   = 250
)

// order returns a row of user 1 for one unit under the key "k<id>".
func order(id int64, change ...func(*Row)) Row {
	row := Row{ID: id, Key: fmt.Sprintf("k%d", id), UserID: 1, ProductID: product, Quantity: 1, TotalCents: price, Status: "created"}
	for _, f := range change {
		f(&row)
	}
	return row
}

// attempt returns what the client knows of the request with key "k<id>"; a receipt
// is filled in where the class has one.
func attempt(id int64, class Class, change ...func(*Attempt)) Attempt {
	a := Attempt{Key: fmt.Sprintf("k%d", id), UserID: 1, ProductID: product, Quantity: 1, Class: class}
	if class == Accepted || class == Replayed {
		a.OrderID, a.TotalCents = id, price
	}
	for _, f := range change {
		f(&a)
	}
	return a
}

func soldOut(a *Attempt) { a.Class, a.Code = Rejected, CodeOutOfStock }

func key(k string) func(*Row) { return func(r *Row) { r.Key = k } }

func history(initial, left int64, rows ...Row) Snapshot {
	return Snapshot{ProductID: product, Initial: initial, Left: left, PriceCents: price, Orders: rows, Settled: true}
}

// figures is a report without its undersold pointer, for comparison in tables.
// Undersold -1 stands for nil.
type figures struct {
	sold, oversold, undersold, drift                          int64
	lost, phantom, duplicate, foreign, mismatched, unknownNow int64
	verdict                                                   Verdict
}

func figuresOf(r Report) figures {
	f := figures{r.Sold, r.Oversold, -1, r.StockDrift, r.LostOrders, r.PhantomOrders,
		r.DuplicateOrders, r.ForeignOrders, r.MismatchedOrders, r.UnknownPlaced, r.Verdict}
	if r.Undersold != nil {
		f.undersold = *r.Undersold
	}
	return f
}

func TestCheck(t *testing.T) {
	accepted1, accepted2 := attempt(1, Accepted), attempt(2, Accepted)
	tests := []struct {
		name     string
		snap     Snapshot
		attempts []Attempt
		want     figures
	}{
		{"nothing happened", history(2, 2), nil,
			figures{verdict: OK}},
		{"sold out exactly", history(2, 0, order(1), order(2)),
			[]Attempt{accepted1, accepted2, attempt(3, Rejected, soldOut)},
			figures{sold: 2, verdict: OK}},
		{"some left, nobody refused", history(2, 1, order(1)), []Attempt{accepted1},
			figures{sold: 1, verdict: OK}},
		{"refused for another reason while stock is left", history(2, 1, order(1)),
			[]Attempt{accepted1, attempt(2, Rejected, func(a *Attempt) { a.Code = "price_changed" })},
			figures{sold: 1, verdict: OK}},
		{"replayed", history(1, 0, order(1)), []Attempt{accepted1, attempt(1, Replayed)},
			figures{sold: 1, verdict: OK}},
		{"replayed after an answer that got lost", history(1, 0, order(1)),
			[]Attempt{attempt(1, Unknown), attempt(1, Replayed)},
			figures{sold: 1, verdict: OK}},
		{"refused first and accepted later", history(1, 0, order(1)),
			[]Attempt{attempt(1, Failed), attempt(1, Rejected, soldOut), accepted1},
			figures{sold: 1, verdict: OK}},
		{"accepted, and its key refused for another body", history(1, 0, order(1)),
			[]Attempt{accepted1, attempt(1, Rejected)},
			figures{sold: 1, verdict: OK}},
		{"other products are not looked at", history(1, 1),
			[]Attempt{attempt(1, Accepted, func(a *Attempt) { a.ProductID++ })},
			figures{verdict: OK}},

		{"unknown and placed", history(1, 0, order(1)), []Attempt{attempt(1, Unknown)},
			figures{sold: 1, unknownNow: 1, verdict: OK}},
		{"unknown and not placed", history(1, 1), []Attempt{attempt(1, Unknown)},
			figures{verdict: OK}},
		{"unknown twice, placed once", history(1, 0, order(1)), []Attempt{attempt(1, Unknown), attempt(1, Unknown)},
			figures{sold: 1, unknownNow: 1, verdict: OK}},
		{"unknown, then refused, and placed", history(1, 0, order(1)),
			[]Attempt{attempt(1, Unknown), attempt(1, Rejected, soldOut)},
			figures{sold: 1, unknownNow: 1, verdict: OK}},

		{"not settled, though all looks well", unsettled(history(1, 0, order(1))), []Attempt{accepted1},
			figures{sold: 1, verdict: Unsettled}},
		{"not settled comes before everything", unsettled(history(1, 5, order(1), order(2))), nil,
			figures{sold: 2, oversold: 1, drift: 6, foreign: 2, verdict: Unsettled}},

		{"lost", history(1, 1), []Attempt{accepted1},
			figures{lost: 1, verdict: Inconsistent}},
		{"lost with its unit", history(1, 0), []Attempt{accepted1},
			figures{drift: -1, lost: 1, verdict: Inconsistent}},
		{"lost once, though told twice", history(1, 1), []Attempt{accepted1, attempt(1, Replayed)},
			figures{lost: 1, verdict: Inconsistent}},
		{"replayed, but never placed", history(1, 1), []Attempt{attempt(1, Replayed)},
			figures{lost: 1, verdict: Inconsistent}},
		{"two keys were told the same order", history(2, 1, order(1)),
			[]Attempt{accepted1, attempt(2, Accepted, func(a *Attempt) { a.OrderID = 1 })},
			figures{sold: 1, lost: 1, verdict: Inconsistent}},
		{"two keys were told the same order, both are there", history(2, 0, order(1), order(2)),
			[]Attempt{accepted1, attempt(2, Accepted, func(a *Attempt) { a.OrderID = 1 })},
			figures{sold: 2, mismatched: 1, verdict: Inconsistent}},
		{"phantom of a refusal", history(1, 0, order(1)), []Attempt{attempt(1, Rejected, soldOut)},
			figures{sold: 1, phantom: 1, verdict: Inconsistent}},
		{"phantom of a failure", history(1, 0, order(1)), []Attempt{attempt(1, Failed)},
			figures{sold: 1, phantom: 1, verdict: Inconsistent}},
		{"one key, two orders", history(2, 0, order(1), order(2, key("k1"))), []Attempt{accepted1},
			figures{sold: 2, duplicate: 1, verdict: Inconsistent}},
		{"one key, two orders, the receipt names the second", history(2, 0, order(1), order(2, key("k1"))),
			[]Attempt{attempt(1, Accepted, func(a *Attempt) { a.OrderID = 2 })},
			figures{sold: 2, duplicate: 1, verdict: Inconsistent}},
		{"foreign", history(2, 0, order(1), order(9, key("somebody else's"))), []Attempt{accepted1},
			figures{sold: 2, foreign: 1, verdict: Inconsistent}},
		{"foreign and duplicate", history(2, 0, order(1), order(2, key("k1"))), nil,
			figures{sold: 2, duplicate: 1, foreign: 2, verdict: Inconsistent}},
		{"a key's order under another product", history(1, 0, order(1)),
			[]Attempt{attempt(1, Accepted, func(a *Attempt) { a.ProductID++ })},
			figures{sold: 1, foreign: 1, verdict: Inconsistent}},

		{"receipt with another id", history(1, 0, order(1)),
			[]Attempt{attempt(1, Accepted, func(a *Attempt) { a.OrderID = 9 })},
			figures{sold: 1, mismatched: 1, verdict: Inconsistent}},
		{"receipt with another total", history(1, 0, order(1)),
			[]Attempt{attempt(1, Accepted, func(a *Attempt) { a.TotalCents = price - 1 })},
			figures{sold: 1, mismatched: 1, verdict: Inconsistent}},
		{"receipt that could not be read", history(1, 0, order(1)),
			[]Attempt{attempt(1, Accepted, func(a *Attempt) { a.OrderID, a.TotalCents = 0, 0 })},
			figures{sold: 1, mismatched: 1, verdict: Inconsistent}},
		{"order of another user", history(1, 0, order(1, func(r *Row) { r.UserID = 2 })), []Attempt{accepted1},
			figures{sold: 1, mismatched: 1, verdict: Inconsistent}},
		{"order of another quantity", history(3, 1, order(1, func(r *Row) { r.Quantity, r.TotalCents = 2, 2*price })),
			[]Attempt{accepted1},
			figures{sold: 2, mismatched: 1, verdict: Inconsistent}},
		{"unknown, placed for another user", history(1, 0, order(1, func(r *Row) { r.UserID = 2 })),
			[]Attempt{attempt(1, Unknown)},
			figures{sold: 1, mismatched: 1, unknownNow: 1, verdict: Inconsistent}},
		{"receipt and order agree on a wrong price", history(1, 0, order(1, func(r *Row) { r.TotalCents = 1 })),
			[]Attempt{attempt(1, Accepted, func(a *Attempt) { a.TotalCents = 1 })},
			figures{sold: 1, mismatched: 1, verdict: Inconsistent}},
		{"row of another product in the snapshot", history(1, 0, order(1, func(r *Row) { r.ProductID++ })),
			[]Attempt{accepted1},
			figures{sold: 1, mismatched: 1, verdict: Inconsistent}},

		{"lost update: one unit sold twice", history(1, 0, order(1), order(2)), []Attempt{accepted1, accepted2},
			figures{sold: 2, oversold: 1, drift: 1, verdict: Oversold}},
		{"negative stock", history(1, -1, order(1), order(2)), []Attempt{accepted1, accepted2},
			figures{sold: 2, oversold: 1, verdict: Oversold}},
		{"negative stock without a sale", history(0, -1), nil,
			figures{drift: -1, verdict: Inconsistent}},
		{"oversold by an unknown order", history(1, 0, order(1), order(2)), []Attempt{accepted1, attempt(2, Unknown)},
			figures{sold: 2, oversold: 1, drift: 1, unknownNow: 1, verdict: Oversold}},
		{"oversold and undersold at once", history(1, 1, order(1), order(2)),
			[]Attempt{accepted1, accepted2, attempt(3, Rejected, soldOut)},
			figures{sold: 2, oversold: 1, undersold: 1, drift: 2, verdict: Oversold}},
		{"lost update below the stock", history(5, 4, order(1), order(2)), []Attempt{accepted1, accepted2},
			figures{sold: 2, drift: 1, verdict: Inconsistent}},
		{"vanished unit", history(5, 3, order(1)), []Attempt{accepted1},
			figures{sold: 1, drift: -1, verdict: Inconsistent}},
		{"drift comes before undersold", history(5, 5, order(1)),
			[]Attempt{accepted1, attempt(2, Rejected, soldOut)},
			figures{sold: 1, undersold: 1, drift: 1, verdict: Inconsistent}},

		{"undersold, bounded by the refusals", history(5, 4, order(1)),
			[]Attempt{accepted1, attempt(2, Rejected, soldOut), attempt(3, Rejected, soldOut)},
			figures{sold: 1, undersold: 2, verdict: Undersold}},
		{"undersold, bounded by the stock", history(2, 1, order(1)),
			[]Attempt{accepted1, attempt(2, Rejected, soldOut), attempt(3, Rejected, soldOut)},
			figures{sold: 1, undersold: 1, verdict: Undersold}},
		{"asked for more than was left", history(2, 1, order(1)),
			[]Attempt{accepted1, attempt(2, Rejected, soldOut, func(a *Attempt) { a.Quantity = 2 })},
			figures{sold: 1, verdict: OK}},

		{"cancelled, the unit went back", history(1, 1, order(1, cancel)),
			[]Attempt{accepted1, attempt(2, Rejected, soldOut)},
			figures{undersold: -1, verdict: OK}},
		{"cancelled and sold again", history(1, 0, order(1, cancel), order(2)), []Attempt{accepted1, accepted2},
			figures{sold: 1, undersold: -1, verdict: OK}},
		{"cancelled, the unit vanished", history(1, 0, order(1, cancel)), []Attempt{accepted1},
			figures{undersold: -1, drift: -1, verdict: Inconsistent}},
		{"cancelled, but nobody was told", history(1, 1, order(1, cancel)), nil,
			figures{undersold: -1, foreign: 1, verdict: Inconsistent}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Check(tt.snap, slices.Values(tt.attempts))
			if figuresOf(got) != tt.want {
				t.Errorf("got  %+v\nwant %+v", figuresOf(got), tt.want)
			}
			if got.Initial != tt.snap.Initial || got.Left != tt.snap.Left {
				t.Errorf("initial %d, left %d; want %d, %d", got.Initial, got.Left, tt.snap.Initial, tt.snap.Left)
			}
			slices.Reverse(tt.attempts)
			if again := Check(tt.snap, slices.Values(tt.attempts)); figuresOf(again) != tt.want {
				t.Errorf("the order of attempts matters: %+v", figuresOf(again))
			}
		})
	}
}

func cancel(r *Row) { r.Status = Cancelled }

func unsettled(s Snapshot) Snapshot {
	s.Settled = false
	return s
}

func TestCheckAllJudgesEachProduct(t *testing.T) {
	other := history(1, 0, order(3, func(r *Row) { r.ProductID = product + 1 }), order(4, func(r *Row) { r.ProductID = product + 1 }))
	other.ProductID++
	toOther := func(a *Attempt) { a.ProductID++ }
	got := CheckAll([]Snapshot{history(1, 0, order(1)), other}, slices.Values([]Attempt{
		attempt(1, Accepted), attempt(3, Accepted, toOther), attempt(4, Accepted, toOther),
	}))
	if got[0].Verdict != OK || got[1].Verdict != Oversold || got[1].Oversold != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestCheckStock(t *testing.T) {
	tests := []struct {
		name string
		snap Snapshot
		want StockReport
	}{
		{"adds up", history(2, 1, order(1)), StockReport{Initial: 2, Sold: 1, Left: 1, Verdict: OK}},
		{"oversold", history(1, 0, order(1), order(2)), StockReport{Initial: 1, Sold: 2, Oversold: 1, StockDrift: 1, Verdict: Oversold}},
		{"drift", history(2, 2, order(1)), StockReport{Initial: 2, Sold: 1, Left: 2, StockDrift: 1, Verdict: Inconsistent}},
		{"duplicate", history(2, 0, order(1), order(2, key("k1"))), StockReport{Initial: 2, Sold: 2, DuplicateOrders: 1, Verdict: Inconsistent}},
		{"unsettled", unsettled(history(1, 1)), StockReport{Initial: 1, Left: 1, Verdict: Unsettled}},
	}
	for _, tt := range tests {
		if got := CheckStock(tt.snap); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestSum(t *testing.T) {
	one, two := int64(1), int64(2)
	full := Report{1, 2, 3, 4, &one, 5, 6, 7, 8, 9, 10, 11, Undersold}
	double := Report{2, 4, 6, 8, &two, 10, 12, 14, 16, 18, 20, 22, Undersold}
	if got := Sum(full, full); !reflect.DeepEqual(got, double) {
		t.Errorf("got %+v, want %+v", got, double)
	}
	if got := Sum(full, Report{Verdict: OK}); got.Undersold != nil {
		t.Errorf("undersold is %d, but one report does not know it", *got.Undersold)
	}
	if got := Sum(); got.Verdict != Unsettled {
		t.Errorf("the sum of nothing is %q", got.Verdict)
	}
	for i, bad := range severity {
		for _, better := range severity[i:] {
			if a, b := Sum(Report{Verdict: bad}, Report{Verdict: better}), Sum(Report{Verdict: better}, Report{Verdict: bad}); a.Verdict != bad || b.Verdict != bad {
				t.Errorf("%s and %s: got %s and %s", bad, better, a.Verdict, b.Verdict)
			}
		}
	}
	if got := Sum(Report{StockDrift: 1, Verdict: Inconsistent}, Report{StockDrift: -1, Verdict: Inconsistent}); got.Verdict != Inconsistent {
		t.Errorf("drifts that cancel each other out hide the verdict: %+v", got)
	}
}

// The names are read by people and scripts: they are part of the result format.
func TestReportNames(t *testing.T) {
	const want = `{"initial":1,"sold":0,"left":1,"oversold":0,"undersold":0,"stock_drift":0,"lost_orders":0,` +
		`"phantom_orders":0,"duplicate_orders":0,"foreign_orders":0,"mismatched_orders":0,"unknown_placed":0,"verdict":"ok"}`
	got, err := json.Marshal(Check(history(1, 1), slices.Values([]Attempt(nil))))
	if err != nil || string(got) != want {
		t.Errorf("got  %s (%v)\nwant %s", got, err, want)
	}
}
