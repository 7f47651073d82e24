//go:build !unix

package attack

import "time"

// cpuTime is unknown here.
func cpuTime() time.Duration { return 0 }
