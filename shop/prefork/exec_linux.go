package prefork

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// parentDeath is the signal that this process gets when its parent dies (PR_SET_PDEATHSIG), or 0. It belongs to a thread:
// the kernel sets it in the first one, which this runs on, and the thread that executes another program takes its place.
var parentDeath = func() (sig uintptr) {
	var value int32
	if unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&value)), 0, 0, 0) != nil {
		return 0
	}
	return uintptr(value)
}()

// becomeProgram executes another program in this process. legacy hands it what it inherits, and returns the value of
// callingEnv. It returns only if that failed.
//
// Signals that come meanwhile wait until the next program heeds them. One that this program has just taken from the
// kernel would be lost: that is what ready is asked for, at the last moment.
func becomeProgram(command Command, legacy func(inherit) (string, error), ready func() bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, handedSignals, &before); err != nil {
		return fmt.Errorf("prefork: block signals: %w", err)
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, parentDeath, 0, 0, 0)

	syscall.ForkLock.RLock() // no worker that is started meanwhile may inherit what follows
	defer syscall.ForkLock.RUnlock()
	var inherited []int
	defer func() {
		for _, fd := range inherited {
			_ = unix.Close(fd)
		}
	}()
	value, err := legacy(func(fd int) (int, error) {
		dup, err := unix.Dup(fd)
		if err == nil {
			inherited = append(inherited, dup)
		}
		return dup, err
	})
	if err != nil {
		return fmt.Errorf("prefork: hand over: %w", err)
	}
	args, env := append([]string{os.Args[0]}, command.Args...), command.environment(callingEnv, value)
	if !ready() {
		return errNotNow
	}
	err = syscall.Exec(command.Path, args, env)
	return errors.Join(errors.New("prefork: execute "+command.Path), err)
}
