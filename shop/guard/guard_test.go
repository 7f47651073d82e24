package guard

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"example.com/flashsale/shop/order"
)

// TestExpected is the whole table: what theory promises.
func TestExpected(t *testing.T) {
	t.Parallel()
	type place struct{ processes, concurrency int }
	all := []place{{1, 1}, {1, 2}, {1, 64}, {2, 1}, {2, 2}, {4, 1}, {4, 64}}
	safe := map[string][]place{
		None:        {{1, 1}},
		Mutex:       {{1, 1}, {1, 2}, {1, 64}},
		Redlock:     all,
		Rowlock:     all,
		Conditional: all,
		Batch:       all,
		NoOp:        nil,
	}
	if len(safe) != len(Names()) {
		t.Errorf("this table has %d guards, the package %v", len(safe), Names())
	}
	for _, name := range Names() {
		for _, p := range all {
			want := Broken
			if slices.Contains(safe[name], p) {
				want = Safe
			}
			if got := Expected(name, p.processes, p.concurrency); got != want {
				t.Errorf("Expected(%s, %d processes, %d at once) = %s, want %s", name, p.processes, p.concurrency, got, want)
			}
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	names := Names()
	if names[len(names)-1] != NoOp {
		t.Errorf("%v: noop is not the last", names)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(Names()) {
		t.Errorf("%v: a name appears twice", names)
	}
}

// TestAbout: one line per guard, but for noop, which is no flag's value.
func TestAbout(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSuffix(About(), "\n"), "\n")
	names := Names()
	if len(lines) != len(names)-1 {
		t.Fatalf("%d lines for %d guards:\n%s", len(lines), len(names)-1, About())
	}
	for i, line := range lines {
		name, about, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != names[i] || strings.TrimSpace(about) == "" || len(line) > 110 {
			t.Errorf("line %d: %q, want %s and what it is, in at most 110 characters", i, line, names[i])
		}
	}
	if strings.Contains(About(), NoOp) {
		t.Error("noop is offered")
	}
}

func TestUnknownGuard(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "nonesuch", "None"} {
		if g, err := New(t.Context(), name, Deps{}); err == nil || g != nil {
			t.Errorf("New(%q) = %v, %v, want an error", name, g, err)
		}
	}
}

func TestNoOpMakesReceiptsUp(t *testing.T) {
	t.Parallel()
	g, err := New(t.Context(), NoOp, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for want := range int64(3) {
		r, err := g.Place(ended, order.Request{Quantity: 7})
		if err != nil || r.OrderID != want+1 || r.Status != order.StatusCreated || r.TotalCents != 7 || r.CreatedAt.IsZero() || r.Replayed {
			t.Errorf("Place() = %+v, %v", r, err)
		}
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// model is a stage's, as Front sees it.
type model struct{ Guard }

func TestFront(t *testing.T) {
	t.Parallel()
	deps := Deps{Log: slog.New(slog.DiscardHandler)}
	for _, name := range Names() {
		if name == Redlock || name == Batch {
			continue // they connect, and start the committer
		}
		g, err := New(t.Context(), name, deps)
		if err != nil {
			t.Fatal(err)
		}
		m := model{g}
		front := Front(g, m)
		if name == NoOp && front != Placer(g) {
			t.Errorf("noop is behind %T", front)
		}
		if name != NoOp && front != Placer(m) {
			t.Errorf("%s is in front of its model", name)
		}
	}
}
