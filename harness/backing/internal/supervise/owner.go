package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Process is a running server, seen from its owner. All methods may be called concurrently.
type Process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	pid    int
	grace  time.Duration
	gone   chan struct{} // closed when the server, or its supervisor, has ended
	done   chan struct{} // closed when the supervisor has ended and was waited for
	mu     sync.Mutex
	reason error // why the server ended by itself
	final  error // what the supervisor could not clean up
	once   sync.Once
}

// Start starts a supervisor and blocks until the server process runs (which does not mean that it answers), setup
// has failed, or ctx ends. The error of a failed setup holds the last lines of its output. Later, ctx has no effect.
func Start(ctx context.Context, job Job) (*Process, error) {
	cmd, err := Reexec(variable, "1", title, job.Dir)
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("supervisor's stdin: %w", err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("supervisor's stdout: %w", err)
	}
	// Not the owner's stderr: whoever waits for that to close would wait for a supervisor that still cleans up.
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start supervisor: %w", err), stdin.Close(), w.Close(), out.Close())
	}
	p := &Process{cmd: cmd, stdin: stdin, grace: job.Grace, gone: make(chan struct{}), done: make(chan struct{})}
	startedPID := make(chan int, 1)
	go p.follow(out, startedPID)
	sendErr := json.NewEncoder(stdin).Encode(job)
	if err := errors.Join(sendErr, w.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("send job to supervisor: %w", err), p.Stop())
	}
	return p.await(ctx, startedPID)
}

// await waits for the first news of a supervisor that has its job.
func (p *Process) await(ctx context.Context, startedPID <-chan int) (*Process, error) {
	select {
	case p.pid = <-startedPID:
		return p, nil
	case <-p.done:
		return nil, p.Err()
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), p.Stop())
	}
}

// follow reads events until the supervisor ends, then waits for it. It is the only goroutine of a Process.
func (p *Process) follow(out io.ReadCloser, startedPID chan<- int) {
	var noise strings.Builder // what is no event: the trace of a supervisor that panicked
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	clean := false
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(&noise, lines.Text())
			continue
		}
		switch e.Kind {
		case started:
			startedPID <- e.PID
		case exited:
			p.lost(failure(e))
		case ended:
			clean = true
			if err := failure(e); err != nil {
				p.close(err)
				p.lost(err)
			}
		}
	}
	err := errors.Join(lines.Err(), p.cmd.Wait(), out.Close())
	if !clean {
		err = fmt.Errorf("supervisor died: %w %s", err, noise.String())
		p.close(err)
		p.lost(err)
	}
	p.lost(errors.New("stopped"))
	close(p.done)
}

// failure is the error in an event, nil if there is none.
func failure(e event) error {
	switch {
	case e.Error == "":
		return nil
	case e.Log == "":
		return errors.New(e.Error)
	}
	return fmt.Errorf("%s; its last words:\n%s", e.Error, e.Log)
}

// lost notes why the server ended; the first reason stays.
func (p *Process) lost(err error) {
	p.once.Do(func() {
		p.mu.Lock()
		p.reason = err
		p.mu.Unlock()
		close(p.gone)
	})
}

// PID is the server's main process.
func (p *Process) PID() int { return p.pid }

// close notes how the clean-up went.
func (p *Process) close(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.final = err
}

// Exited is closed when the server has ended, by itself or by Stop.
func (p *Process) Exited() <-chan struct{} { return p.gone }

// Err says why the server ended, with the last lines of its output; nil while it runs.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason
}

// Stop ends the server and blocks until it is gone and its folder removed. It takes at most the job's grace and a few
// seconds. The error says what could not be cleaned up. More calls do no harm and return the same.
func (p *Process) Stop() error {
	// Closing twice is an error that means nothing here.
	_ = p.stdin.Close()
	late := time.NewTimer(p.grace + 15*time.Second)
	defer late.Stop()
	select {
	case <-p.done:
	case <-late.C:
		return errors.Join(fmt.Errorf("supervisor %d does not end; killing it", p.cmd.Process.Pid), p.cmd.Process.Kill())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.final
}
