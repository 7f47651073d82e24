package main

import (
	"testing"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/capacity"
	"example.com/flashsale/loadtest/report"
)

// The search begins below what the stage did with its own guard in the closed model, and within the limits.
func TestFirstRateFollowsFromTheSustainedRun(t *testing.T) {
	run := func(stage, guard report.Text, workload attack.Workload, perSecond float64) report.Run {
		return report.Run{Stage: stage, Guard: guard, Workload: string(workload), OrdersPerSecond: perSecond}
	}
	open := run("a", "own", attack.Sustained, 9000)
	open.Generator = &report.Generator{}
	result := &report.Result{Runs: []report.Run{
		run("a", "own", attack.FlashSale, 9000), run("a", "none", attack.Sustained, 9000), run("b", "own", attack.Sustained, 9000), open,
		run("a", "own", attack.Sustained, 800), run("a", "own", attack.Sustained, 1000),
	}}
	for _, test := range []struct{ least, most, want float64 }{{1, 50_000, 700}, {1, 100, 100}, {900, 50_000, 900}} {
		p := &probing{
			finder: &finder{result: result, limits: capacity.Limits{Min: test.least, Max: test.most}},
			found:  report.Capacity{Stage: "a", Guard: "own"},
		}
		if got, err := p.firstRate(); err != nil || got != test.want {
			t.Errorf("within %g to %g: %g, %v, want %g", test.least, test.most, got, err, test.want)
		}
	}
}
