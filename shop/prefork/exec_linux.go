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
	// Not unix.Prctl: a pointer may become a number only in the call of a system call (package unsafe).
	if _, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&value)), 0); errno != 0 {
		return 0
	}
	return uintptr(value)
}()

// memoryFile returns an empty file that needs no file system that can be written to. It is closed on exec; a duplicate of
// its descriptor is not.
func memoryFile() (*os.File, error) {
	const name = "prefork"
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // older than Linux 6.3, which may insist on the seal
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("prefork: file in memory: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// becomeProgram executes another program in this process. legacy hands it what it inherits, and returns the value of
// callingEnv. It returns only if that failed.
//
// A thread that executes a program keeps its signal mask. So signals that come after the other threads have ended wait until
// the next program heeds them. One that another thread takes before, after ready has looked, is lost: some microseconds.
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
