//go:build !unix

package attack

import "net"

// rawConn is of no use where file descriptors are not.
type rawConn struct{}

func (*rawConn) usable() bool    { return false }
func (*rawConn) attach(net.Conn) {}

func (c *conn) exchange(p []byte) (int, error) { return c.exchangePortably(p) }

// step is never called here.
func (*conn) step(uintptr) bool { return true }

// closedByPeer cannot be known here; the next send will tell.
func (*conn) closedByPeer() bool { return false }
