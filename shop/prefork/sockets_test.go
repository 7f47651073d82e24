//go:build linux

package prefork

import (
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openSockets opens a group of n sockets on a free port.
func openSockets(t *testing.T, n int) *sockets {
	t.Helper()
	s := &sockets{mode: ReusePort}
	t.Cleanup(s.close)
	if err := s.first(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	for range n - 1 {
		if err := s.add(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// fill makes n connections, which nobody accepts, and returns how many wait in the queue of each socket.
func fill(t *testing.T, s *sockets, n int) []int {
	t.Helper()
	for range n {
		conn, err := net.DialTimeout("tcp", s.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	return queues(t, s)
}

func queues(t *testing.T, s *sockets) []int {
	t.Helper()
	lengths := make([]int, len(s.open))
	for i := range lengths {
		n, err := s.queued(i)
		if err != nil {
			t.Fatal(err)
		}
		lengths[i] = n
	}
	return lengths
}

func TestConnectionsSpreadEvenly(t *testing.T) {
	t.Parallel()
	s := openSockets(t, 4)
	lengths := fill(t, s, 64)
	slices.Sort(lengths)
	median := float64(lengths[1]+lengths[2]) / 2
	if lengths[0] == 0 || float64(lengths[3]) > 2.5*median {
		t.Errorf("64 connections spread as %v", lengths)
	}
}

func TestSteering(t *testing.T) {
	t.Parallel()
	s := openSockets(t, 4)
	before := fill(t, s, 40)
	if err := s.steer([]int{0, 3}); err != nil {
		t.Fatal(err)
	}
	steered := fill(t, s, 40)
	if steered[1] != before[1] || steered[2] != before[2] || steered[0] == before[0] || steered[3] == before[3] {
		t.Errorf("steered to 0 and 3: %v, then %v", before, steered)
	}
	s.removeLast()
	if err := s.steer([]int{2}); err != nil {
		t.Fatal(err)
	}
	if now := fill(t, s, 10); now[2] != steered[2]+10 {
		t.Errorf("steered to 2: %v, then %v", steered, now)
	}
	if err := s.steer(nil); err != nil {
		t.Fatal(err)
	}
	atLast := fill(t, s, 40)
	for i, n := range atLast {
		if n == steered[i] {
			t.Errorf("not steered any more, but socket %d gets nothing: %v, then %v", i, steered, atLast)
		}
	}
}

// After the group has shrunk to one and grown again, the program that steered to one must be gone.
func TestSteeringEndsWithTheGroup(t *testing.T) {
	t.Parallel()
	s := openSockets(t, 2)
	if err := s.steer([]int{0}); err != nil {
		t.Fatal(err)
	}
	s.removeLast()
	if err := s.steer(nil); err != nil {
		t.Fatal(err)
	}
	if err := s.add(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lengths := fill(t, s, 24); lengths[0] == 0 || lengths[1] == 0 {
		t.Errorf("24 connections spread as %v", lengths)
	}
}

func TestRefuseKeepsWhatWaits(t *testing.T) {
	t.Parallel()
	s := openSockets(t, 2)
	before := fill(t, s, 10)
	if err := s.refuse(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.DialTimeout("tcp", s.addr, 50*time.Millisecond); err == nil {
		_ = conn.Close()
		t.Error("a new connection was let in")
	}
	if now := queues(t, s); !slices.Equal(before, now) {
		t.Errorf("queues %v, then %v", before, now)
	}
	conn := acceptFrom(t, s, slices.Index(before, slices.Max(before)))
	if _, err := conn.Write([]byte("still works")); err != nil {
		t.Error(err)
	}
}

func acceptFrom(t *testing.T, s *sockets, i int) net.Conn {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(s.slot(i)), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer func() { _ = file.Close() }()
	ln, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// SO_REUSEPORT must not let two masters of one user share a port by mistake, nor a master and anybody else.
func TestAddressIsClaimed(t *testing.T) {
	t.Parallel()
	for name, taken := range map[string]string{"another master": openSockets(t, 2).addr, "a plain listener": plainListener(t)} {
		for _, mode := range []Mode{ReusePort, Shared} {
			s := &sockets{mode: mode}
			if err := s.first(t.Context(), taken); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%s, %s: err = %v", name, mode, err)
			}
			s.close()
		}
	}
}

func plainListener(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}
