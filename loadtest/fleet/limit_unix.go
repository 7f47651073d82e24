//go:build unix

package fleet

import "golang.org/x/sys/unix"

// FileLimit returns how many files one process may open, or 0 where that is not known. The Go runtime has raised the soft
// limit to the hard one already.
func FileLimit() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return limit.Cur
}
