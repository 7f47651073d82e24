package prefork

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// link is the master's end of a worker process. Three goroutines talk to it: one reads what it reports, one writes
// rosters, one copies its standard error. They can be stopped in the midst of a line and go on later, in this process or
// in the one that follows it.
type link struct {
	process *os.Process
	control net.Conn
	errors  *os.File // what the worker writes to standard error
	words   *tail
	notify  notice
	mail    chan Roster
	gone    chan struct{} // closed: the process has ended

	talking sync.WaitGroup
	quit    chan struct{} // closed: the talk is to stop
	unread  []byte        // what the worker has reported and the master has not taken in
	unsent  []byte        // the rest of a line to the worker
}

// talk starts the goroutines.
func (c *link) talk() {
	c.quit = make(chan struct{})
	c.talking.Go(c.read)
	c.talking.Go(c.write)
	c.talking.Go(func() { _, _ = io.Copy(c.words, c.errors) })
}

// hush stops the talk, so that it can go on where it was.
func (c *link) hush() {
	close(c.quit)
	c.interrupt(time.Now())
	c.talking.Wait()
	c.interrupt(time.Time{})
}

// interrupt ends what blocks at that time; the zero time: never.
func (c *link) interrupt(at time.Time) {
	_ = c.control.SetDeadline(at)
	_ = c.errors.SetReadDeadline(at)
}

// How long the talk goes on after the end of the process. That is the end of the streams too, unless a grandchild has
// inherited them.
const (
	lastReports = 100 * time.Millisecond
	lastWords   = time.Second
)

// finish waits for the end of the talk with a process that has ended.
func (c *link) finish() {
	close(c.gone)
	_ = c.control.SetDeadline(time.Now().Add(lastReports))
	_ = c.errors.SetReadDeadline(time.Now().Add(lastWords))
	c.talking.Wait()
	_ = c.control.Close()
	_ = c.errors.Close()
}

// maxLine bounds a line of a worker, by far.
const maxLine = 64 << 10

// read hands on what the worker says until the stream ends. A line that is too long ends it too: such a worker is not
// sound, and as its beats are not heard any more it is replaced.
func (c *link) read() {
	lines := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(c.unread), c.control), maxLine)
	c.unread = nil
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			c.unread = slices.Clone(line)
			return
		}
		var r report
		if json.Unmarshal(line, &r) == nil && r.Kind != reportExit && !c.notify(r, c.quit) {
			rest, _ := lines.Peek(lines.Buffered())
			c.unread = slices.Concat(line, rest)
			return
		}
	}
}

// write sends what comes by mail until the process is gone. A worker that does not read blocks nobody but this.
func (c *link) write() {
	for {
		for len(c.unsent) > 0 {
			n, err := c.control.Write(c.unsent)
			c.unsent = c.unsent[n:]
			if err != nil {
				return
			}
		}
		select {
		case r := <-c.mail:
			if line, err := json.Marshal(r); err == nil {
				c.unsent = slices.Concat(line, []byte{'\n'})
			}
		case <-c.gone:
			return
		case <-c.quit:
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
