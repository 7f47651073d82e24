package prefork

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sockets are the listening sockets of one address. The master never accepts from them; it only keeps them open, so
// that connections in an accept queue outlive the worker that was to take them.
type sockets struct {
	mode Mode
	addr string     // with the real port, once the first is open
	open []*os.File // one per slot, in the order in which the kernel numbers them; in Shared mode just one
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
func (s *sockets) slot(i int) *os.File {
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
	_ = s.open[last].Close()
	s.open = s.open[:last]
}

// close gives the address up. Workers that still accept keep their own descriptors.
func (s *sockets) close() {
	for _, f := range s.open {
		_ = f.Close()
	}
	s.open = nil
}

// keep stores a duplicate of the listener's descriptor, in blocking mode. The flag belongs to the socket, not to the
// descriptor: the worker sets it again, and the master must not clear it under a running worker with each fork, which is
// what net.TCPListener.File and os.File.Fd would do. A blocking file also stays out of the master's poller, which would
// wake up for every connection.
func (s *sockets) keep(ln *net.TCPListener) error {
	var dup int
	err := control(ln, func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("prefork: keep the socket: %w", err)
	}
	if err := unix.SetNonblock(dup, false); err != nil {
		return errors.Join(fmt.Errorf("prefork: keep the socket: %w", err), unix.Close(dup))
	}
	s.open = append(s.open, os.NewFile(uintptr(dup), s.addr))
	return nil
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
