package ceiling

import (
	"math"
	"slices"
	"testing"

	"example.com/flashsale/loadtest/report"
)

func TestJudge(t *testing.T) {
	before := Readings{HTTP: 1000, Single: 100, Transaction: 40, Batch: 5000}
	after := Readings{HTTP: 3000, Single: 300, Transaction: 60, Batch: 7000}
	tests := []struct {
		guard    report.Text
		products int
		measured []Kind
		bound    Kind
	}{
		{"none", 1, []Kind{HTTP, Single, Transaction}, Transaction},
		{"mutex", 1, []Kind{HTTP, Single, Transaction}, Transaction},
		{"redlock", 1, []Kind{HTTP, Single, Transaction}, Transaction},
		{"rowlock", 1, []Kind{HTTP, Single, Transaction}, Transaction},
		{"conditional", 1, []Kind{HTTP, Single}, Single},
		{"batch", 1, []Kind{HTTP, Single, Batch}, HTTP},
		{"noop", 1, []Kind{HTTP, Single}, HTTP},
		{"conditional", 2, []Kind{HTTP, Single}, HTTP},
		{"rowlock", 1000, []Kind{HTTP, Single, Transaction}, HTTP},
	}
	for _, test := range tests {
		run := &report.Run{Guard: test.guard, OrdersPerSecond: 30, Settings: report.Settings{Products: test.products}}
		Judge(run, before, after)
		var measured []Kind
		for _, c := range run.Ceilings {
			measured = append(measured, Kind(c.Name))
		}
		if !slices.Equal(measured, test.measured) || run.Ceiling == nil || Kind(run.Ceiling.Name) != test.bound {
			t.Errorf("%s, %d products: measured %v, bound %+v", test.guard, test.products, measured, run.Ceiling)
		}
	}
}

func TestRatios(t *testing.T) {
	kinds := []Kind{HTTP, Single, Batch}
	got := Ratios(300, kinds, Readings{HTTP: 400, Single: 0, Batch: 1}, Readings{HTTP: 200, Single: 100})
	want := report.CeilingRatio{Name: string(HTTP), BeforePerSecond: 400, AfterPerSecond: 200, Ratio: 1, RatioMin: 0.75, RatioMax: 1.5}
	if len(got) != 1 || got[0] != want {
		t.Errorf("%+v, not only %+v", got, want)
	}
	if Lowest(nil, kinds) != nil || Lowest(got, []Kind{Single}) != nil {
		t.Error("a bound out of nothing")
	}
}

func TestSession(t *testing.T) {
	s := Session{}
	s.Add(Readings{HTTP: 3, Single: 10})
	s.Add(Readings{HTTP: 1})
	s.Add(Readings{HTTP: 8})
	s.Add(Readings{HTTP: 4})
	c := s.Ceilings(func(kind Kind) int {
		if kind == HTTP {
			return 0
		}
		return 4
	})
	if h := c.HTTPNoop; math.Abs(h.Median-3.5) > 1e-9 || h.Min != 1 || h.Max != 8 || h.Samples != 4 || h.Connections != nil {
		t.Errorf("HTTP: %+v", h)
	}
	if s := c.HotRowSingle; s.Median != 10 || s.Samples != 1 || *s.Connections != 4 {
		t.Errorf("single: %+v", s)
	}
	if c.HotRowTransaction != nil || c.HotRowBatch != nil {
		t.Errorf("not measured, but %+v", c)
	}
}
