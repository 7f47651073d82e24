package live

import (
	"os"

	"golang.org/x/sys/unix"
)

// Foreground says whether this process may draw on the terminal and change its mode: one that a shell runs in the
// background would be stopped.
func Foreground(terminal *os.File) bool {
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// withoutEcho stops the terminal from showing what is typed, which would be in the midst of the view. The returned
// function, which may be called again, restores it.
func withoutEcho(terminal *os.File) (restore func()) {
	fd := int(terminal.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil || !Foreground(terminal) {
		return func() {}
	}
	quiet := *before
	quiet.Lflag &^= unix.ECHO
	_ = unix.IoctlSetTermios(fd, unix.TCSETS, &quiet) // what is typed is then seen: no harm
	return func() {
		if Foreground(terminal) {
			_ = unix.IoctlSetTermios(fd, unix.TCSETS, before)
		}
	}
}
