package prefork

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// callingEnv is the environment variable by which a master tells a process that it is to follow it, or to show that it
// could. Its value is a calling in JSON.
const callingEnv = "FLASHSALE_MASTER"

// legacyFormat changes when a master cannot read any more what an older one hands over. Fields that are new, and that
// may be missing, do not change it.
const legacyFormat = 1

// calling is what a master says to the process that follows it.
type calling struct {
	Rehearsal bool   `json:"rehearsal,omitempty"` // answer on answerFd whether you could
	Format    int    `json:"format"`              // of the legacy
	Addr      string `json:"addr"`                // as configured
	Mode      Mode   `json:"mode"`
	Legacy    int    `json:"legacy,omitempty"` // descriptor of a file, where this is no rehearsal
}

// In a rehearsal the answer goes to this descriptor.
const (
	answerFd   = 3
	answerGood = "ready to follow"
)

// legacy is what a master hands to the one that follows it in the same process: the sockets and the workers, all of which
// serve. Descriptors are those of the process.
type legacy struct {
	Addr       string `json:"addr"`    // with the real port
	Sockets    []int  `json:"sockets"` // of the slots, in order
	Workers    []heir `json:"workers"` // of the slots, in order
	Configured int    `json:"configured"`
	Generation int    `json:"generation"`
	Upgrades   int    `json:"upgrades"`
}

// heir is a worker that gets another master.
type heir struct {
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`
	Ready      time.Time `json:"ready"`
	Generation int       `json:"generation"`
	Requests   uint64    `json:"requests"`
	Recycle    bool      `json:"recycle,omitempty"`

	Control int    `json:"control"` // descriptors
	Errors  int    `json:"errors"`
	Unread  []byte `json:"unread,omitempty"` // see link
	Unsent  []byte `json:"unsent,omitempty"`
	Words   []byte `json:"words,omitempty"`
}

var called = sync.OnceValues(readCalling)

// readCalling returns what the master before this one says, or nil.
func readCalling() (*calling, error) {
	value, ok := os.LookupEnv(callingEnv)
	if !ok {
		return nil, nil //nolint:nilnil // nobody calls, as a rule
	}
	_ = os.Unsetenv(callingEnv) // it is not meant for the workers
	c := &calling{}
	if err := json.Unmarshal([]byte(value), c); err != nil {
		return nil, fmt.Errorf("prefork: read %s: %w", callingEnv, err)
	}
	if c.Rehearsal {
		unix.CloseOnExec(answerFd)
	} else {
		unix.CloseOnExec(c.Legacy)
	}
	return c, nil
}

// Rehearses reports whether this process is only to show that it could follow a running master (SIGUSR2). Then Run checks
// its configuration, answers, and returns nil; all that comes before Run is a part of the rehearsal.
func Rehearses() bool {
	c, err := called()
	return err == nil && c != nil && c.Rehearsal
}

// Inherits reports whether this process follows a master that was in the same process before (SIGUSR2). What has been
// done in the rehearsal need not be done again, and had better not: if it fails now, there is no master.
func Inherits() bool {
	c, err := called()
	return err == nil && c != nil && !c.Rehearsal
}

// check says whether a master of this configuration can take over from the one that calls.
func (c *calling) check(cfg Config) error {
	switch {
	case c.Format != legacyFormat:
		return fmt.Errorf("prefork: the running master hands over in format %d, and this program reads %d: restart instead", c.Format, legacyFormat)
	case c.Addr != cfg.Addr || c.Mode != cfg.Mode:
		return fmt.Errorf("prefork: the running master listens on %s (%s) and this one would on %s (%s): restart to change that",
			c.Addr, c.Mode, cfg.Addr, cfg.Mode)
	}
	return nil
}

// answer ends a rehearsal.
func (c *calling) answer(cfg Config) error {
	if err := c.check(cfg); err != nil {
		return err
	}
	file := os.NewFile(answerFd, "answer")
	_, err := io.WriteString(file, answerGood)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("prefork: answer the running master: %w", err)
	}
	return nil
}

// legacy reads what the master before this one has left.
func (c *calling) legacy() (*legacy, error) {
	file := os.NewFile(uintptr(c.Legacy), "legacy")
	defer func() { _ = file.Close() }()
	l := &legacy{}
	if err := json.NewDecoder(file).Decode(l); err != nil {
		return nil, fmt.Errorf("prefork: read what the master before left: %w", err)
	}
	return l, nil
}

// inherit duplicates a descriptor, so that the next program has it.
type inherit func(fd int) (int, error)

// errNotNow means that a program cannot be replaced at this moment, and perhaps a little later.
var errNotNow = errors.New("prefork: not now")

// estate is what a master has of the kernel.
type estate struct {
	sockets
	children
}

// handOver makes this process the master of another program, which gets the sockets and the workers of l. It returns only
// if that failed; then all is as before. ready is asked at the last moment.
func (e *estate) handOver(command Command, call calling, l legacy, ready func() bool) error {
	e.reaping.Lock()
	defer e.reaping.Unlock()
	var family []*link
	for _, h := range l.Workers {
		c := e.find(h.PID)
		if c == nil {
			return errNotNow // it has ended, and the master does not know yet
		}
		family = append(family, c)
	}
	for _, c := range family {
		c.hush()
	}
	defer func() {
		for _, c := range family {
			c.talk()
		}
	}()
	return becomeProgram(command, func(dup inherit) (string, error) { return e.pack(call, l, family, dup) }, ready)
}

func (f *children) find(pid int) *link {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all[pid]
}

// pack writes the legacy into a file in memory and returns the calling that leads to it.
func (e *estate) pack(call calling, l legacy, family []*link, dup inherit) (string, error) {
	l.Addr = e.addr
	for _, fd := range e.open {
		socket, err := dup(fd)
		if err != nil {
			return "", err
		}
		l.Sockets = append(l.Sockets, socket)
	}
	for i, c := range family {
		if err := c.pack(&l.Workers[i], dup); err != nil {
			return "", err
		}
	}
	file, err := memoryFile()
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	if err := json.NewEncoder(file).Encode(l); err != nil {
		return "", err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if call.Legacy, err = dupRaw(file, dup); err != nil {
		return "", err
	}
	value, err := json.Marshal(call)
	return string(value), err
}

// pack notes what the next master is to know of a worker that is not talked to at the moment.
func (c *link) pack(h *heir, dup inherit) (err error) {
	if h.Control, err = dupRaw(c.control.(syscall.Conn), dup); err != nil {
		return err
	}
	if h.Errors, err = dupRaw(c.errors, dup); err != nil {
		return err
	}
	h.Unread, h.Unsent, h.Words = c.unread, c.unsent, []byte(c.words.String())
	return nil
}

func dupRaw(conn syscall.Conn, dup inherit) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	return fd, onFd(raw, func(original int) (err error) {
		fd, err = dup(original)
		return err
	})
}

// adopt takes over a worker of the master before. What it says goes to notify, as with spawn.
func (f *children) adopt(h heir, stderr io.Writer, notify notice) (*process, error) {
	control, err := connOf(h.Control)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(h.Errors)
	p, err := os.FindProcess(h.PID) // it is our child still, and not reaped, so the number is its own
	if err != nil {
		return nil, errors.Join(err, control.Close())
	}
	return f.welcome(&link{
		process: p, control: control, errors: os.NewFile(uintptr(h.Errors), "stderr"), words: &tail{out: stderr, buf: h.Words},
		notify: notify, unread: h.Unread, unsent: h.Unsent,
	}), nil
}
