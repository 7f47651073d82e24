//go:build linux

package prefork

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// linked is a link with the ends of its worker, and what the master has got.
type linked struct {
	*link
	theirs  net.Conn
	stderr  *os.File
	reports chan report
	out     *buffer
}

// newLink makes a link to a worker that the test plays. Nobody talks yet.
func newLink(t *testing.T) *linked {
	t.Helper()
	ours, file, err := controlPair()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := &linked{theirs: theirs, stderr: write, reports: make(chan report), out: &buffer{}}
	l.link = &link{
		control: ours, errors: read, words: &tail{out: l.out}, mail: make(chan Roster, 1), gone: make(chan struct{}),
		notify: func(r report, quit <-chan struct{}) bool {
			select {
			case l.reports <- r:
				return true
			case <-quit:
				return false
			}
		},
	}
	t.Cleanup(func() {
		_ = theirs.Close()
		_ = write.Close()
	})
	_ = theirs.SetDeadline(time.Now().Add(patience))
	return l
}

func (l *linked) report(t *testing.T) report {
	t.Helper()
	select {
	case r := <-l.reports:
		return r
	case <-time.After(patience):
		t.Fatal("no report")
		return report{}
	}
}

// drained waits until the master has read what the worker has sent.
func (l *linked) drained(t *testing.T) {
	t.Helper()
	eventually(t, "the master reads", func() (empty bool) {
		raw, err := l.control.(*net.UnixConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = onFd(raw, func(fd int) error {
			n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
			empty = n == 0
			return err
		})
		return err == nil && empty
	})
}

func write(t *testing.T, to io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		t.Fatal(err)
	}
}

// The talk is interrupted after every byte, and nothing is lost or comes twice.
func TestLinkGoesOnInTheMidstOfALine(t *testing.T) {
	t.Parallel()
	l := newLink(t)
	lines := ""
	for n := range 5 {
		line, err := json.Marshal(report{Kind: reportBeat, Requests: uint64(n + 1)})
		if err != nil {
			t.Fatal(err)
		}
		lines += string(line) + "\n"
	}
	l.talk()
	next := uint64(1)
	for _, b := range []byte(lines) {
		write(t, l.theirs, string(b))
		write(t, l.stderr, string(b))
		if b == '\n' {
			if r := l.report(t); r.Requests != next {
				t.Fatalf("report %d says %d", next, r.Requests)
			}
			next++
		}
		l.drained(t)
		l.hush()
		l.talk()
	}
	eventually(t, "what the worker writes arrives", func() bool { return l.out.String() == lines })
	l.finish()
}

// Reports that the master has not taken in when the talk stops are taken in later, in their order.
func TestLinkKeepsWhatNobodyTook(t *testing.T) {
	t.Parallel()
	l := newLink(t)
	for n := range 3 {
		write(t, l.theirs, fmt.Sprintf(`{"kind":"beat","requests":%d}`+"\n", n+1))
	}
	write(t, l.theirs, `{"kind":"leave"`)
	l.talk()
	if r := l.report(t); r.Requests != 1 {
		t.Fatalf("the first report says %d", r.Requests)
	}
	l.drained(t)
	l.hush()
	write(t, l.theirs, "}\n")
	l.talk()
	for want := uint64(2); want <= 3; want++ {
		if r := l.report(t); r.Requests != want {
			t.Errorf("report %d says %d", want, r.Requests)
		}
	}
	if r := l.report(t); r.Kind != reportLeave {
		t.Errorf("the last report is %q", r.Kind)
	}
	l.finish()
}

func TestLinkReadsNoLineWithoutEnd(t *testing.T) {
	t.Parallel()
	l := newLink(t)
	defer func() { _ = l.control.Close() }()
	sent := make(chan error, 1)
	go func() {
		_, err := l.theirs.Write(make([]byte, 16*maxLine))
		sent <- err
	}()
	_ = l.control.SetDeadline(time.Now().Add(patience))
	l.read()
	if len(l.unread) != maxLine {
		t.Errorf("%d bytes are kept, want %d", len(l.unread), maxLine)
	}
	_ = l.control.Close()
	if err := <-sent; err == nil {
		t.Error("all was read")
	}
}

// A roster that a worker has read in part is not begun anew.
func TestLinkGoesOnInTheMidstOfARoster(t *testing.T) {
	t.Parallel()
	l := newLink(t)
	big := Roster{Addr: strings.Repeat("x", 1<<20)} // more than the socket takes at once
	l.talk()
	replace(l.mail, big)
	first := make([]byte, 1000)
	if _, err := io.ReadFull(l.theirs, first); err != nil {
		t.Fatal(err)
	}
	l.hush()
	if len(l.unsent) == 0 {
		t.Fatal("all of it is sent: this proves nothing")
	}
	l.talk()
	replace(l.mail, Roster{Addr: "small"})
	lines := bufio.NewScanner(io.MultiReader(strings.NewReader(string(first)), l.theirs))
	lines.Buffer(nil, 2<<20)
	for _, want := range []string{big.Addr, "small"} {
		var r Roster
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &r) != nil || r.Addr != want {
			t.Fatalf("got a roster of %d bytes that is none, want that of %.5q", len(lines.Bytes()), want)
		}
	}
	l.finish()
}

// Whether a socket blocks is a flag of the socket itself, which workers share with the master. It must stay as they set it.
func TestSocketsStayNonBlocking(t *testing.T) {
	t.Parallel()
	e := &estate{sockets: *openSockets(t, 1)}
	fd := e.slot(0)
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	isNonBlocking := func() bool {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return err == nil && flags&unix.O_NONBLOCK != 0
	}
	ended := make(chan report, 1)
	_, err := e.spawn(spec{
		command: Command{Path: "/bin/true"}, socket: fd, stdout: os.Stdout, stderr: io.Discard,
	}, func(r report, _ <-chan struct{}) bool { ended <- r; return true })
	if err != nil {
		t.Fatal(err)
	}
	if !isNonBlocking() {
		t.Error("the start of a worker makes the socket block")
	}
	select {
	case r := <-ended:
		if r.Kind != reportExit || r.exit.code != 0 {
			t.Errorf("the process ended with %+v", r)
		}
	case <-time.After(patience):
		t.Fatal("the process does not end")
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 0)
	if err != nil {
		t.Fatal(err)
	}
	next := &sockets{mode: ReusePort}
	next.adopt("test:1", []int{dup})
	defer next.close()
	if flags, err := unix.FcntlInt(uintptr(dup), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %x, %v: want close-on-exec", flags, err)
	}
	if !isNonBlocking() {
		t.Error("the next master makes the socket block")
	}
}

// A worker that has ended, and of which the master does not know yet, cannot be handed over.
func TestDeadWorkersAreNotHandedOver(t *testing.T) {
	t.Parallel()
	e := &estate{}
	err := e.handOver(Command{}, calling{}, legacy{Workers: []heir{{PID: os.Getpid()}}}, func() bool { return true })
	if !errors.Is(err, errNotNow) {
		t.Errorf("err = %v, want not now", err)
	}
}
