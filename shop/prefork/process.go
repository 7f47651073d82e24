package prefork

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running worker process, as spawn hands it to the master.
type process struct {
	pid int
	// signal sends to the process; SIGKILL goes to all of its group. It does not block, and a process that is gone is no error.
	signal func(syscall.Signal)
	// tell sends the roster without blocking: a worker that does not read gets the newest one later.
	tell func(Roster)
}

// exit is how a process ended.
type exit struct {
	code   int // -1 when a signal ended it
	signal syscall.Signal
	words  string
}

// spec is what spawn needs to know.
type spec struct {
	command  Command
	passport passport
	socket   *os.File
	stdout   *os.File
	stderr   io.Writer
}

// spawn executes a worker and returns at once. Its goroutines hand everything that the worker says to notify, then its
// exit as the last report, and end.
func spawn(s spec, notify func(report)) (*process, error) {
	ours, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = theirs.Close() }()
	pass, err := json.Marshal(s.passport)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	words := &tail{out: s.stderr}
	cmd := exec.Command(s.command.Path, s.command.Args...)
	cmd.Env = append(slices.Clone(s.command.Env), workerEnv+"="+string(pass))
	cmd.ExtraFiles = []*os.File{theirs, s.socket} // controlFd, listenerFd
	cmd.Stdout, cmd.Stderr = s.stdout, words
	cmd.SysProcAttr = processAttributes()
	cmd.WaitDelay = time.Second // for a grandchild that keeps standard error open
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("prefork: execute worker: %w", err), ours.Close())
	}
	mail := make(chan Roster, 1)
	go supervise(cmd, ours, mail, words, notify)
	return &process{
		pid:    cmd.Process.Pid,
		signal: func(sig syscall.Signal) { sendSignal(cmd.Process, sig) },
		tell:   func(r Roster) { replace(mail, r) },
	}, nil
}

// supervise owns the process until it is reaped, and the goroutines that talk to it.
func supervise(cmd *exec.Cmd, control net.Conn, mail chan Roster, words *tail, notify func(report)) {
	var talk sync.WaitGroup
	gone := make(chan struct{})
	talk.Go(func() { readReports(control, notify) })
	talk.Go(func() { writeRosters(control, mail, gone) })
	_ = cmd.Wait() // the process state says more than the error
	close(gone)
	// The end of the process is the end of the stream, unless a grandchild inherited it.
	_ = control.SetDeadline(time.Now().Add(100 * time.Millisecond))
	talk.Wait()
	_ = control.Close()
	notify(report{Kind: reportExit, exit: exitOf(cmd.ProcessState, words.String())})
}

func exitOf(state *os.ProcessState, words string) exit {
	e := exit{code: state.ExitCode(), words: words}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.signal = ws.Signal()
	}
	return e
}

// readReports hands on what the worker says until the stream ends.
func readReports(control net.Conn, notify func(report)) {
	lines := bufio.NewScanner(control)
	for lines.Scan() {
		var r report
		if json.Unmarshal(lines.Bytes(), &r) == nil && r.Kind != reportExit {
			notify(r)
		}
	}
}

// writeRosters sends what comes by mail until the process is gone. A worker that does not read blocks nobody but this.
func writeRosters(control net.Conn, mail <-chan Roster, gone <-chan struct{}) {
	enc := json.NewEncoder(control)
	for {
		select {
		case r := <-mail:
			if enc.Encode(r) != nil {
				return
			}
		case <-gone:
			return
		}
	}
}

// replace puts the roster into the mailbox, in place of an older one. It has one caller, so the second send finds room.
func replace(mail chan Roster, r Roster) {
	select {
	case <-mail:
	default:
	}
	select {
	case mail <- r:
	default:
	}
}

// sendSignal signals the process. It goes by the handle, not by the number, so a reused process id is safe. SIGKILL goes
// to the group too, for what the worker may have started.
func sendSignal(p *os.Process, sig syscall.Signal) {
	if p.Signal(sig) == nil && sig == syscall.SIGKILL {
		_ = unix.Kill(-p.Pid, unix.SIGKILL)
	}
}

// controlPair returns the two ends of a control socket: the master's, and the one to be inherited.
func controlPair() (ours net.Conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // no fork may see the descriptors before they are marked close-on-exec
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("prefork: control socket: %w", err)
	}
	mine := os.NewFile(uintptr(fds[0]), "control")
	theirs = os.NewFile(uintptr(fds[1]), "control")
	ours, err = net.FileConn(mine) // duplicates
	if err = errors.Join(err, mine.Close()); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("prefork: control socket: %w", err), theirs.Close())
	}
	return ours, theirs, nil
}

// tailSize is how much of a worker's standard error is kept: a stack or two.
const tailSize = 4 << 10

// tail passes on what is written and keeps the end of it.
type tail struct {
	out io.Writer
	mu  sync.Mutex
	buf []byte
}

// Write never fails: a worker must not die because the master's log cannot be written.
func (t *tail) Write(p []byte) (int, error) {
	_, _ = t.out.Write(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[max(0, len(p)-tailSize):]...)
	if extra := len(t.buf) - tailSize; extra > 0 {
		t.buf = slices.Delete(t.buf, 0, extra)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// lockedWriter lets several workers share one writer.
type lockedWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}
