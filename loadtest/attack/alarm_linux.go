package attack

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// alarm waits to within some tens of microseconds where a processor is free. The Go
// runtime sleeps in whole milliseconds of epoll_wait. A timerfd is one more file
// descriptor that epoll_wait waits for, so its expiry wakes the runtime at once; it
// needs no thread of its own, no timer slack and no spinning. One goroutine at a time
// may use it.
type alarm struct {
	file *os.File
	raw  syscall.RawConn
	stop func() bool
}

// newAlarm returns an alarm whose waits end with ctx.
func newAlarm(ctx context.Context) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create a timer: %w", err)
	}
	file := os.NewFile(uintptr(fd), "timer")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("use a timer: %w", err)
	}
	a := &alarm{file: file, raw: raw}
	a.stop = context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) }) // fails only when it is closed
	return a, nil
}

// wait blocks for d, or until the context ends, which is an error.
func (a *alarm) wait(d time.Duration) error {
	var failed error
	armed := false
	err := a.raw.Read(func(fd uintptr) bool {
		if !armed { // within the runtime's wait, so that the expiry cannot be missed
			armed = true
			spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(d.Nanoseconds(), 1))}
			failed = unix.TimerfdSettime(int(fd), 0, &spec, nil)
			return failed != nil
		}
		var expiries [8]byte
		_, failed = unix.Read(int(fd), expiries[:])
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	if err != nil {
		return err
	}
	return failed
}

func (a *alarm) close() {
	a.stop()
	_ = a.file.Close() // nothing was written
}
