//go:build unix

package attack

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// rawConn is a connection whose file descriptor can be used directly.
type rawConn struct {
	raw syscall.RawConn
	buf []byte // of the read going on
	n   int
	err error
}

func (r *rawConn) usable() bool { return r.raw != nil }

// attach takes the file descriptor of wire, if it has one.
func (r *rawConn) attach(wire net.Conn) {
	r.raw = nil
	if sc, ok := wire.(syscall.Conn); ok {
		r.raw, _ = sc.SyscallConn() // without it the portable way is taken
	}
}

// exchange is exchangePortably with one system call less. A net.Conn's Read tries
// at once and finds nothing, for the service has not answered yet, and only then
// waits. Here the request is written inside the wait's own loop, after the runtime
// has armed it: a wake-up cannot be missed, and the first read is one that succeeds.
func (c *conn) exchange(p []byte) (int, error) {
	r := &c.raw
	r.buf, r.n, r.err = p, 0, nil
	if err := r.raw.Read(c.stepFunc); err != nil {
		return 0, err
	}
	if r.err == nil && len(c.pending) > 0 {
		return c.exchangePortably(p) // the socket's buffer was full
	}
	if r.err == nil && r.n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return r.n, r.err
}

// step is called when the descriptor may be ready; it returns false to wait.
func (c *conn) step(fd uintptr) bool {
	r := &c.raw
	if len(c.pending) > 0 {
		n, err := retry(func() (int, error) { return syscall.Write(int(fd), c.pending) })
		if n > 0 {
			c.written = true
			c.pending = c.pending[n:]
		}
		if err != nil && !errors.Is(err, syscall.EAGAIN) {
			r.err = err
		}
		return r.err != nil || len(c.pending) > 0
	}
	n, err := retry(func() (int, error) { return syscall.Read(int(fd), r.buf) })
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	r.n, r.err = max(n, 0), err
	return true
}

// retry repeats a system call that a signal interrupted before it did anything.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// closedByPeer reports whether the service has closed an idle connection, or sent
// something that nobody asked for. It does not block.
func (c *conn) closedByPeer() bool {
	if c.wire == nil || !c.raw.usable() {
		return false
	}
	alive := false
	err := c.raw.raw.Control(func(fd uintptr) {
		var first [1]byte
		_, err := retry(func() (int, error) {
			n, _, err := syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			return n, err
		})
		alive = errors.Is(err, syscall.EAGAIN)
	})
	return err != nil || !alive
}
