package main

import "golang.org/x/sys/unix"

// ownFiles is what this program opens besides one connection per user.
const ownFiles = 64

// checkFileLimit refuses more users than connections can be open. The Go runtime has raised the soft limit to the hard
// one already.
func checkFileLimit(users int) error {
	var limit unix.Rlimit
	need := uint64(users) + ownFiles
	// Where the limit is not known, the connections will tell.
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && need > limit.Cur {
		return usagef("--users %d needs %d open files, but this process may open %d: raise the limit (ulimit -n %d, as root if need be) or use fewer users",
			users, need, limit.Cur, need)
	}
	return nil
}
