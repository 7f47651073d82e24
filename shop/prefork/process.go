package prefork

import (
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

	"golang.org/x/sys/unix"
)

// process is a running worker process, as the master drives it.
type process struct {
	pid int
	// signal sends to the process; SIGKILL goes to all of its group. It does not block, and a process that is gone is no error.
	signal func(syscall.Signal)
	// tell sends the roster without blocking: a worker that does not read gets the newest one later.
	tell func(Roster)
}

// notice hands a report to the master and blocks until it has it. It returns false, and the master does not have it, if
// quit was closed before, or if the master has ended.
type notice func(r report, quit <-chan struct{}) bool

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
	socket   int // descriptor
	stdout   *os.File
	stderr   io.Writer
}

// children are the worker processes that run, from spawn or adopt until they are reaped.
type children struct {
	mu  sync.Mutex
	all map[int]*link // by process id
	// reaping is held, shared, by who asks the kernel how a process ended: after that its number means nothing. Who holds
	// it alone knows that no number goes.
	reaping sync.RWMutex
}

// spawn executes a worker and returns at once. Its goroutines hand everything that the worker says to notify, then its
// exit as the last report, and end.
func (f *children) spawn(s spec, notify notice) (*process, error) {
	ours, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = theirs.Close() }()
	words, inherit, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prefork: standard error: %w", err), ours.Close())
	}
	defer func() { _ = inherit.Close() }()
	started, err := start(s, theirs, inherit)
	if err != nil {
		return nil, errors.Join(err, ours.Close(), words.Close())
	}
	c := &link{process: started, control: ours, errors: words, words: &tail{out: s.stderr}, notify: notify}
	return f.welcome(c), nil
}

// start executes the worker. It goes below os/exec because the listening socket must not become an os.File; see sockets.
func start(s spec, control, stderr *os.File) (*os.Process, error) {
	pass, err := json.Marshal(s.passport)
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("prefork: standard input: %w", err)
	}
	defer func() { _ = null.Close() }()
	var pid int
	err = startUnblocked(func() (err error) {
		pid, _, err = syscall.StartProcess(s.command.Path, append([]string{s.command.Path}, s.command.Args...), &syscall.ProcAttr{
			Env:   s.command.environment(workerEnv, string(pass)),
			Files: []uintptr{null.Fd(), s.stdout.Fd(), stderr.Fd(), control.Fd(), uintptr(s.socket)}, // controlFd, listenerFd
			Sys:   processAttributes(),
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("prefork: execute worker %s: %w", s.command.Path, err)
	}
	return os.FindProcess(pid) // never fails on Unix
}

// environment returns the command's environment with one variable set. Where a variable is there twice, the last counts.
func (c Command) environment(key, value string) []string {
	return (&exec.Cmd{Env: append(slices.Clone(c.Env), key+"="+value)}).Environ()
}

// welcome begins the talk with a process.
func (f *children) welcome(c *link) *process {
	c.mail, c.gone = make(chan Roster, 1), make(chan struct{})
	c.talk()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[int]*link{}
	}
	f.all[c.process.Pid] = c
	go f.supervise(c)
	return &process{
		pid:    c.process.Pid,
		signal: func(sig syscall.Signal) { sendSignal(c.process, sig) },
		tell:   func(r Roster) { replace(c.mail, r) },
	}
}

// supervise owns the process until it is reaped, and the goroutines that talk to it.
func (f *children) supervise(c *link) {
	awaitEnd(c.process.Pid)
	f.reaping.RLock()
	state, _ := c.process.Wait() // the state says more than the error
	f.mu.Lock()
	delete(f.all, c.process.Pid)
	f.mu.Unlock()
	f.reaping.RUnlock()
	c.finish()
	c.notify(report{Kind: reportExit, exit: exitOf(state, c.words.String())}, nil)
}

func exitOf(state *os.ProcessState, words string) exit {
	e := exit{code: -1, words: words}
	if state == nil {
		return e // somebody else has waited for it
	}
	e.code = state.ExitCode()
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.signal = ws.Signal()
	}
	return e
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
	theirs = os.NewFile(uintptr(fds[1]), "control")
	if ours, err = connOf(fds[0]); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// connOf makes a connection of a control socket's descriptor, which it closes.
func connOf(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "control")
	conn, err := net.FileConn(file) // duplicates
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("prefork: control socket: %w", err)
	}
	return conn, nil
}
