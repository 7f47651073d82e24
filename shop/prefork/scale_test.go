package prefork

import (
	"strings"
	"testing"
	"time"
)

// busyFor lets all workers say once a second how busy they are.
func (w *world) busyFor(d time.Duration, share float64) {
	for range int(d / time.Second) {
		w.pass(time.Second)
		for _, p := range w.procs {
			if !p.gone {
				p.say(report{Kind: reportBeat, Busy: &share})
			}
		}
	}
}

func (w *world) wantWorkers(n int, when string) {
	w.t.Helper()
	if w.roster.Wanted != n {
		w.t.Errorf("%s: %d workers are wanted, want %d", when, w.roster.Wanted, n)
	}
}

func TestScaling(t *testing.T) {
	inWorld(t, Config{Workers: 2, MaxWorkers: 3, Scaling: Scaling{Min: 1}}, func(w *world) {
		w.only(0).ready()
		w.only(1).ready()
		w.busyFor(time.Minute, 0.6)
		w.wantWorkers(2, "busy enough")
		w.busyFor(2*time.Second, 0.9)
		w.busyFor(time.Second, 0.7)
		w.busyFor(3*time.Second, 0.9)
		w.wantWorkers(2, "not busy for long enough")
		w.busyFor(time.Second, 0.9)
		w.wantWorkers(3, "busy for long enough")
		if !strings.Contains(w.log.String(), "the workers have been busy for 90 % of the time, for 3s") {
			t.Error("the log does not say why")
		}
		w.busyFor(10*time.Second, 0.9)
		w.only(2).ready()
		w.busyFor(time.Minute, 0.9)
		w.wantWorkers(3, "there may be no more")

		w.busyFor(29*time.Second, 0.2)
		w.wantWorkers(3, "not idle for long enough")
		w.busyFor(3*time.Second, 0.2)
		w.wantWorkers(2, "idle for long enough")
		w.busyFor(time.Minute, 0.3)
		w.wantWorkers(2, "one alone would be too busy")
		w.busyFor(40*time.Second, 0)
		w.wantWorkers(1, "idle")
		w.busyFor(2*time.Minute, 0)
		w.wantWorkers(1, "there may be no fewer")
	})
}

// TestNoScaling: it is off unless asked for, and waits for workers that do not say anything.
func TestNoScaling(t *testing.T) {
	inWorld(t, Config{Workers: 2, MaxWorkers: 4}, func(w *world) {
		w.only(0).ready()
		w.only(1).ready()
		w.busyFor(time.Minute, 1)
		w.wantWorkers(2, "off")
	})
	inWorld(t, Config{Workers: 2, MaxWorkers: 4, Scaling: Scaling{Min: 2}, HeartbeatTimeout: -1}, func(w *world) {
		w.only(0).ready()
		w.only(1).ready()
		w.pass(time.Minute)
		w.wantWorkers(2, "nobody says anything")
	})
	for _, least := range []int{-1, 3} {
		if _, err := (Config{Addr: ":0", Workers: 2, Scaling: Scaling{Min: least}}).withDefaults(); err == nil {
			t.Errorf("at least %d of 2 workers is no error", least)
		}
	}
}
