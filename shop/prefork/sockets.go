package prefork

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// sockets are the listening sockets of one address. The master never accepts from them; it only keeps them open, so
// that connections in an accept queue outlive the worker that was to take them.
type sockets struct {
	mode Mode
	addr string // with the real port, once the first is open
	// open are the descriptors, one per slot, in the order in which the kernel numbers the sockets; in Shared mode just one.
	// They are no os.Files: whether a socket blocks is a flag of the socket and not of the descriptor, so os.File.Fd and
	// net.TCPListener.File would make it block under a worker that runs, and the master's poller would wake up for every
	// connection.
	open []int
}

// first opens the socket of slot 0 and so claims the address. It fails if anybody listens there, another master of ours
// included: the socket is bound and listening before it allows others to share its port.
func (s *sockets) first(ctx context.Context, addr string) error {
	ln, err := listen(ctx, addr, nil)
	if err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return fmt.Errorf("prefork: address %s is in use by another process: %w", addr, err)
		}
		return fmt.Errorf("prefork: %w", err)
	}
	defer func() { _ = ln.Close() }()
	if s.mode == ReusePort {
		if err := control(ln, allowSharing); err != nil {
			return fmt.Errorf("prefork: share the port: %w", err)
		}
	}
	s.addr = ln.Addr().String()
	return s.keep(ln)
}

// add opens the socket of one more slot. In Shared mode there is nothing to do.
func (s *sockets) add(ctx context.Context) error {
	if s.mode == Shared {
		return nil
	}
	ln, err := listen(ctx, s.addr, func(_, _ string, raw syscall.RawConn) error { return onFd(raw, allowSharing) })
	if err != nil {
		return fmt.Errorf("prefork: one more socket: %w", err)
	}
	defer func() { _ = ln.Close() }()
	return s.keep(ln)
}

// slot returns the socket of a slot.
func (s *sockets) slot(i int) int {
	if s.mode == Shared {
		return s.open[0]
	}
	return s.open[i]
}

// removeLast closes the socket of the highest slot. Only the last can go: the kernel fills a gap with the last one, which
// would renumber them.
func (s *sockets) removeLast() {
	if s.mode == Shared {
		return
	}
	last := len(s.open) - 1
	_ = unix.Close(s.open[last])
	s.open = s.open[:last]
}

// close gives the address up. Workers that still accept keep their own descriptors.
func (s *sockets) close() {
	for _, fd := range s.open {
		_ = unix.Close(fd)
	}
	s.open = nil
}

// adopt takes over the sockets of the master that this one follows.
func (s *sockets) adopt(addr string, fds []int) {
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	s.addr, s.open = addr, fds
}

// keep stores a duplicate of the listener's descriptor.
func (s *sockets) keep(ln *net.TCPListener) error {
	return control(ln, func(fd int) error {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("prefork: keep the socket: %w", err)
		}
		s.open = append(s.open, dup)
		return nil
	})
}

// listen opens a TCP listener. Multipath TCP is off: its sockets cannot be steered.
func listen(ctx context.Context, addr string, prepare func(network, address string, raw syscall.RawConn) error) (*net.TCPListener, error) {
	lc := net.ListenConfig{Control: prepare}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}

func allowSharing(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

func control(ln *net.TCPListener, do func(fd int) error) error {
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	return onFd(raw, do)
}

func onFd(raw syscall.RawConn, do func(fd int) error) error {
	var inner error
	err := raw.Control(func(fd uintptr) { inner = do(int(fd)) })
	return errors.Join(err, inner)
}
