//go:build !linux

package supervise

import "syscall"

// parentDeath does nothing: only Linux tells a child of its parent's death.
func parentDeath(*syscall.SysProcAttr, syscall.Signal) {}
