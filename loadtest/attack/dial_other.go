//go:build !linux

package attack

import "syscall"

// bindLate is not needed where ports are chosen late anyway, or cannot be.
func bindLate(_, _ string, _ syscall.RawConn) error { return nil }
