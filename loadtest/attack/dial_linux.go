package attack

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// bindLate lets the kernel choose the port when it connects, not when it binds the
// address. Only then can it take one again whose last connection ended a moment ago.
func bindLate(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) // without it there are only fewer ports
	})
}
