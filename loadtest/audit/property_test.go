package audit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// run is a history: what happened, and what the clients know of it.
type run struct {
	snap     Snapshot
	attempts []Attempt
}

// correctRun plays a service that makes no mistake: it sells until nothing is left,
// loses some answers, turns some requests away, and replays orders.
func correctRun(rng *rand.Rand) run {
	initial := int64(1 + rng.IntN(20))
	r := run{snap: history(initial, initial)}
	for id := int64(1); id <= 40; id++ {
		r.serve(id, int64(1+rng.IntN(3)), rng)
	}
	rng.Shuffle(len(r.attempts), func(i, j int) { r.attempts[i], r.attempts[j] = r.attempts[j], r.attempts[i] })
	return r
}

func (r *run) serve(id, quantity int64, rng *rand.Rand) {
	a := Attempt{Key: fmt.Sprintf("k%d", id), UserID: id % 5, ProductID: product, Quantity: quantity, Class: Failed, Code: "overloaded"}
	enough := r.snap.Left >= quantity
	switch {
	case rng.IntN(8) == 0: // turned away
	case enough:
		r.snap.Left -= quantity
		r.snap.Orders = append(r.snap.Orders, Row{ID: 1000 + id, Key: a.Key, UserID: a.UserID, ProductID: product,
			Quantity: quantity, TotalCents: quantity * price, Status: "created"})
		a.Class, a.Code, a.OrderID, a.TotalCents = Accepted, "", 1000+id, quantity*price
	default:
		a.Class, a.Code = Rejected, CodeOutOfStock
	}
	if a.Class == Accepted && rng.IntN(6) == 0 {
		again := a
		again.Class = Replayed
		r.attempts = append(r.attempts, again)
	} else if rng.IntN(10) == 0 {
		a = Attempt{Key: a.Key, UserID: a.UserID, ProductID: product, Quantity: quantity, Class: Unknown, Code: "eof"}
	}
	r.attempts = append(r.attempts, a)
}

// mutations are single mistakes. Each returns false when the run gives it no
// occasion; otherwise the run is wrong afterwards.
var mutations = map[string]func(*run, *rand.Rand) bool{
	"an accepted order is missing": func(r *run, rng *rand.Rand) bool {
		i, ok := r.rowOf(rng, Accepted)
		if ok {
			r.snap.Left += r.snap.Orders[i].Quantity // so that nothing but the order tells
			r.snap.Orders = slices.Delete(r.snap.Orders, i, i+1)
		}
		return ok
	},
	"a placed order is called refused": func(r *run, rng *rand.Rand) bool { return r.reclassify(rng, Rejected) },
	"a placed order is called failed":  func(r *run, rng *rand.Rand) bool { return r.reclassify(rng, Failed) },
	"an order is there twice": func(r *run, rng *rand.Rand) bool {
		if len(r.snap.Orders) == 0 {
			return false
		}
		row := r.snap.Orders[rng.IntN(len(r.snap.Orders))]
		row.ID += 5000
		r.addRow(row)
		return true
	},
	"nobody asked for an order": func(r *run, rng *rand.Rand) bool {
		r.addRow(Row{ID: 9000, Key: "foreign", UserID: 1, ProductID: product, Quantity: 1, TotalCents: price, Status: "created"})
		return true
	},
	"another id":        changeRow(func(row *Row) { row.ID += 7000 }),
	"another key":       changeRow(func(row *Row) { row.Key += "x" }),
	"another user":      changeRow(func(row *Row) { row.UserID++ }),
	"another total":     changeRow(func(row *Row) { row.TotalCents-- }),
	"another quantity":  changeRow(func(row *Row) { row.Quantity++ }),
	"a unit too many":   func(r *run, _ *rand.Rand) bool { r.snap.Left++; return true },
	"a unit too few":    func(r *run, _ *rand.Rand) bool { r.snap.Left--; return true },
	"a unit sold twice": func(r *run, _ *rand.Rand) bool { r.snap.Initial--; return true },
	"cancelled, but the units did not come back": changeRow(func(row *Row) { row.Status = Cancelled }),
	"not settled": func(r *run, _ *rand.Rand) bool { r.snap.Settled = false; return true },
	"refused though there was enough": func(r *run, _ *rand.Rand) bool {
		r.snap.Initial, r.snap.Left = r.snap.Initial+3, r.snap.Left+3
		return slices.ContainsFunc(r.attempts, func(a Attempt) bool { return a.Code == CodeOutOfStock })
	},
}

// changeRow returns a mutation that changes the order of an attempt that was accepted.
func changeRow(change func(*Row)) func(*run, *rand.Rand) bool {
	return func(r *run, rng *rand.Rand) bool {
		i, ok := r.rowOf(rng, Accepted)
		if ok {
			change(&r.snap.Orders[i])
		}
		return ok
	}
}

// rowOf returns the index of an order that an attempt of this class has.
func (r *run) rowOf(rng *rand.Rand, class Class) (int, bool) {
	for _, i := range rng.Perm(len(r.attempts)) {
		if a := r.attempts[i]; a.Class == class {
			return slices.IndexFunc(r.snap.Orders, func(row Row) bool { return row.Key == a.Key }), true
		}
	}
	return 0, false
}

// reclassify makes all attempts of one placed order say that it was not placed.
func (r *run) reclassify(rng *rand.Rand, class Class) bool {
	row, ok := r.rowOf(rng, Accepted)
	if !ok {
		return false
	}
	for i := range r.attempts {
		if r.attempts[i].Key == r.snap.Orders[row].Key {
			r.attempts[i].Class, r.attempts[i].Code = class, "other"
		}
	}
	return true
}

// addRow adds an order and units for it, so that nothing but the order tells.
func (r *run) addRow(row Row) {
	r.snap.Orders = append(r.snap.Orders, row)
	r.snap.Initial += row.Quantity
}

func TestCorrectRunsPassAndEveryMistakeIsFound(t *testing.T) {
	tried := map[string]int{}
	for seed := range uint64(300) {
		good := correctRun(rand.New(rand.NewPCG(seed, 0)))
		if got := Check(good.snap, slices.Values(good.attempts)); got.Verdict != OK {
			t.Fatalf("seed %d: a correct run is %s: %+v", seed, got.Verdict, got)
		}
		for name, mutate := range mutations {
			bad := correctRun(rand.New(rand.NewPCG(seed, 0)))
			if !mutate(&bad, rand.New(rand.NewPCG(seed, 1))) {
				continue
			}
			tried[name]++
			if got := Check(bad.snap, slices.Values(bad.attempts)); got.Verdict == OK {
				t.Errorf("seed %d: %q passes: %+v", seed, name, got)
			}
		}
	}
	for name := range mutations {
		if tried[name] < 100 {
			t.Errorf("%q was tried only %d times", name, tried[name])
		}
	}
}
