//go:build !unix

package attack

import "net"

// rawConn is of no use where file descriptors are not.
type rawConn struct{}

func (*rawConn) usable() bool    { return false }
func (*rawConn) attach(net.Conn) {}

// writeAndWait is never called here.
func (*conn) writeAndWait() error { return nil }

// step is never called here.
func (*conn) step(uintptr) bool { return true }

// closedByPeer cannot be known here; the next send will tell.
func (*conn) closedByPeer() bool { return false }
