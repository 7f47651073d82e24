package service

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much a process allocates between two collections, in
// percent of its live heap. That is a few megabytes, most of it stacks and
// buffers of connections, so Go's default of 100 collects tens of times a second
// under load, and scans every waiting request's stack each time.
const gcPercent = 200

// collectLess sets the collector's target, unless GOGC says otherwise.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
