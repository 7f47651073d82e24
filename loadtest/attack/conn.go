package attack

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// deadlineSlack is the part of the time-out by which a deadline may be late. To
// set a deadline costs a timer operation, so it is renewed only when it has come
// nearer than the time-out, and then set that much further away.
const deadlineSlack = 16

// dialFunc opens a connection to the target.
type dialFunc func(ctx context.Context) (net.Conn, error)

// conn is one user's connection. It writes a request and reads the answer, once:
// nothing here ever sends anything again. Only interrupt may be called by another
// goroutine than the owner's.
type conn struct {
	dial    dialFunc
	timeout time.Duration

	wire     net.Conn           // nil while there is no connection
	raw      rawConn            // the fast way to wire; see await
	stepFunc func(uintptr) bool // step, as a value that is made once
	pending  []byte             // what is to be written before the answer can come
	written  bool               // a byte of the request has left
	readErr  error              // of the last read
	deadline time.Time          // that is set on wire

	mu          sync.Mutex // guards wire and deadline against interrupt
	interrupted bool
}

func newConn(dial dialFunc, timeout time.Duration) *conn {
	c := &conn{dial: dial, timeout: timeout}
	c.stepFunc = c.step
	return c
}

// open makes a connection where there is none. It blocks for the time-out at most.
func (c *conn) open(ctx context.Context) error {
	if c.wire != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	wire, err := c.dial(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupted {
		_ = wire.Close()
		return context.Canceled
	}
	c.wire = wire
	c.raw.attach(wire)
	c.deadline = time.Time{}
	return nil
}

// close drops the connection, if there is one; the next open makes another.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire != nil {
		_ = c.wire.Close() // it is given up; there is nothing to lose
		c.wire = nil
	}
}

// interrupt ends a wait for an answer, and all later ones, at once.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupted = true
	if c.wire != nil {
		_ = c.wire.SetDeadline(time.Unix(1, 0)) // fails only on a closed connection
	}
}

// begin stages a request: await writes it.
func (c *conn) begin(request []byte, now time.Time) error {
	c.pending, c.written, c.readErr = request, false, nil
	if now.Add(c.timeout).After(c.deadline) {
		return c.renewDeadline(now)
	}
	return nil
}

func (c *conn) renewDeadline(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupted {
		return os.ErrDeadlineExceeded
	}
	c.deadline = now.Add(c.timeout + c.timeout/deadlineSlack)
	return c.wire.SetDeadline(c.deadline)
}

// wasInterrupted reports whether interrupt was called.
func (c *conn) wasInterrupted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.interrupted
}

// await writes the staged request and blocks until something of the answer has come, or the connection has ended.
// Where file descriptors cannot be used directly, only the first read of the answer blocks.
func (c *conn) await() error {
	if c.raw.usable() {
		if err := c.writeAndWait(); err != nil || len(c.pending) == 0 {
			c.readErr = err
			return err
		}
	}
	n, err := c.wire.Write(c.pending)
	c.written = c.written || n > 0
	c.pending = nil
	c.readErr = err
	return err
}

// Read reads what has come of the answer.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.wire.Read(p)
	if err != nil {
		c.readErr = err
	}
	return n, err
}

// loss says what became of a request whose answer did not come.
func (c *conn) loss(err error) (Class, string) {
	if c.readErr != nil {
		err = c.readErr // the cause; err may be the parser's view of it
	}
	class := Unknown
	if !c.written {
		class = Failed
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && c.wasInterrupted():
		return class, CodeInterrupted
	case errors.Is(err, os.ErrDeadlineExceeded):
		return class, CodeClientTimeout
	case !c.written:
		return Failed, CodeNotSent
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Unknown, CodeReset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Unknown, CodeEOF
	case c.readErr != nil:
		return Unknown, CodeNetwork
	}
	return Unknown, CodeMalformed
}
