//go:build unix

package attack

import (
	"errors"
	"net"
	"syscall"
)

// rawConn is a connection whose file descriptor can be used directly.
type rawConn struct {
	raw syscall.RawConn
	err error // of the last write
}

func (r *rawConn) usable() bool { return r.raw != nil }

// attach takes the file descriptor of wire, if it has one.
func (r *rawConn) attach(wire net.Conn) {
	r.raw = nil
	if sc, ok := wire.(syscall.Conn); ok {
		r.raw, _ = sc.SyscallConn() // without it the portable way is taken
	}
}

// writeAndWait writes the request and waits for the answer with one system call less than a Write and a Read. A
// net.Conn's Read tries at once and finds nothing, for the service has not answered yet, and only then waits. Here the
// request is written inside the wait's own loop, after the runtime has armed it: a wake-up cannot be missed, and the
// first read is one that succeeds. Meanwhile the user needs no buffer. What did not fit into the socket's buffer stays
// in c.pending.
func (c *conn) writeAndWait() error {
	c.raw.err = nil
	if err := c.raw.raw.Read(c.stepFunc); err != nil {
		return err
	}
	return c.raw.err
}

// step is called before the wait and after it; it returns false to wait.
func (c *conn) step(fd uintptr) bool {
	if len(c.pending) == 0 {
		return true // the answer is here
	}
	n, err := retry(func() (int, error) { return syscall.Write(int(fd), c.pending) })
	if n > 0 {
		c.written = true
		c.pending = c.pending[n:]
	}
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		c.raw.err = err
	}
	return c.raw.err != nil || len(c.pending) > 0
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
