package supervise

import "syscall"

// parentDeath has the kernel signal the child when the thread that starts it ends: here the supervisor's main thread.
func parentDeath(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }
