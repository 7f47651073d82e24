package service

import (
	"runtime"
	"testing"
)

func TestShareCPUs(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	for _, c := range []struct {
		env           string
		cpus, workers int
		wanted        int
		name          string
	}{
		{"", 8, 2, 4, "a worker's share"},
		{"", 2, 4, 1, "more workers than CPUs"},
		{"", 4, 1, 4, "a worker alone"},
		{"8", 8, 2, 8, "GOMAXPROCS is set"},
	} {
		t.Setenv("GOMAXPROCS", c.env)
		runtime.GOMAXPROCS(c.cpus)
		Budget{Workers: c.workers}.ShareCPUs()
		if got := runtime.GOMAXPROCS(0); got != c.wanted {
			t.Errorf("%s: %d, want %d", c.name, got, c.wanted)
		}
	}
}
