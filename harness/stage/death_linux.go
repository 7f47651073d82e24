package stage

import "syscall"

// ownGroup puts the child in a process group of its own, so that a Ctrl-C in a terminal reaches its owner alone, and
// has the kernel kill it when the thread that started it ends, which is when its owner dies, by SIGKILL too. Workers of
// a killed master end by themselves: that is the master's promise.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// foreground makes the child the leader of a new session whose terminal is its standard input; otherwise like ownGroup.
func foreground() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
}
