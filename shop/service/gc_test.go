package service

import (
	"runtime/debug"
	"testing"
)

func TestCollectLess(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	t.Setenv("GOGC", "50") // the runtime has read it at start: it is not to be overruled
	collectLess()
	if now := debug.SetGCPercent(100); now != 100 {
		t.Errorf("GOGC is set, and yet the target became %d", now)
	}
	t.Setenv("GOGC", "")
	collectLess()
	if now := debug.SetGCPercent(100); now != gcPercent {
		t.Errorf("the target is %d, want %d", now, gcPercent)
	}
}
