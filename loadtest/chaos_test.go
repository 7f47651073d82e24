package main

import (
	"testing"
	"time"
)

// chaos.Run announces each fault once, so that is how many steps are planned; none takes less than the fault itself.
func TestChaosPlansAStepForEachFault(t *testing.T) {
	run := &chaosRun{chaosCmd: &chaosCmd{Faults: []string{"reload", "balance", "term"}, Duration: new(20 * time.Second)}, stages: chaosStages}
	steps := run.estimate()
	if len(steps) != 3*len(chaosStages) {
		t.Errorf("%d steps are planned", len(steps))
	}
	for _, step := range steps {
		if step <= *run.Duration {
			t.Errorf("a step takes %v, and its fault %v", step, *run.Duration)
		}
	}
}
