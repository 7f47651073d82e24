package main

import (
	"os"

	"example.com/flashsale/loadtest/fleet"
)

// checkFileLimit refuses more users than connections can be open, in all processes that we start for them.
func checkFileLimit(users int) error {
	limit := fleet.FileLimit()
	if n := fleet.Processes(users, limit); n > fleet.MaxProcesses {
		return usagef("--users %d needs %d processes, since one may open %d files, but at most %d are started: raise the limit (ulimit -n, as root if need be) or use fewer users",
			users, n, limit, fleet.MaxProcesses)
	}
	return nil
}

// memberCmd is one process of a fleet of load generators. Its parent talks to it.
type memberCmd struct{}

// Run does what stdin says.
func (*memberCmd) Run(a *app) error { return fleet.Member(a.ctx, os.Stdin, a.stdout) }
