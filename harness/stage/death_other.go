//go:build !linux

package stage

import "syscall"

// ownGroup puts the child in a process group of its own, so that a Ctrl-C in a terminal reaches its owner alone. This
// system cannot bind a child's life to its owner's: a stage survives an owner that is killed with SIGKILL.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// foreground makes the child the leader of a new session whose terminal is its standard input; otherwise like ownGroup.
func foreground() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Setctty: true}
}
