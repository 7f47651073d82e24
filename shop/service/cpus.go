package service

import (
	"os"
	"runtime"
)

// ShareCPUs gives this worker its part of the CPUs, at least one, unless
// GOMAXPROCS says otherwise. Workers that each want all of them wake more threads
// than there are CPUs, and those look for work in vain. A worker that is alone
// after a crash does not get more: its replacement serves in a moment.
func (b Budget) ShareCPUs() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/max(1, b.Workers)))
	}
}
