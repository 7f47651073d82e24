package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Spec says which stage to start and with what. Name and Binary are required.
type Spec struct {
	Name   string
	Binary string   // from Build
	Args   []string // flags; settings are better in Env
	// Env holds settings such as "GUARD=none". The fields below win over it, and it wins over the environment of this
	// process, whose own settings for a stage (see Settings) are not passed on: only the Spec configures.
	Env          []string
	DatabaseURL  string        // empty: not set
	RedisURL     string        // empty: not set
	Addr         string        // host:port; empty: a free port on 127.0.0.1
	ReadyTimeout time.Duration // 0: 20 s
	// Log gets what the stage writes to stdout and stderr, from a goroutine of this package; nil: the end of it is kept
	// for Process.Log only.
	Log io.Writer
	// Terminal makes the stage the foreground job of this terminal, in a session of its own, as if it had been started
	// from a shell there: Ctrl-C reaches it. Its output goes there too, not to Log. The caller closes it after Start.
	Terminal *os.File
}

// Settings names the environment variables that configure a stage. Nobody may change it.
var Settings = []string{
	"ADDR", "DATABASE_URL", "REDIS_URL", "GUARD", "DB_CONNS", "WORKERS", "PROCESSES", "QUEUE_CAP", "USER_LATENCY",
	"REQUEST_TIMEOUT", "SHUTDOWN_TIMEOUT", "LOG_LEVEL", "LOG_FORMAT", "LISTEN",
	"MIN_PROCESSES", "MAX_PROCESSES", "MAX_REQUESTS", "HEARTBEAT_TIMEOUT",
}

const (
	readyTimeout = 20 * time.Second
	readyPoll    = 10 * time.Millisecond
	// stopGrace is longer than a stage's own shutdown time-out, 10 s by default.
	stopGrace = 15 * time.Second
	// killWait bounds the wait for a killed process: only the kernel can delay it.
	killWait = 5 * time.Second
	// outputWait bounds the wait for the last log lines of a process that has ended.
	outputWait = time.Second
)

// Process is a running stage. All methods may be called concurrently.
type Process struct {
	// URL is the stage's base URL, "http://127.0.0.1:port".
	URL string
	// Name is the stage's name, Addr its host:port.
	Name, Addr string

	command *exec.Cmd
	output  *tail
	exited  chan struct{} // closed when the stage itself has ended and its output is read
}

// Start runs the stage and blocks until GET /ready answers 200 and the answer comes from this very process, until it
// exits, or for at most Spec.ReadyTimeout; then nothing is left running and the error carries its last log lines. The
// context bounds Start alone, not the life of the process. Where the port was to be chosen and somebody else took it
// meanwhile, Start tries once more with another.
//
// The stage runs in a process group of its own, and ends when this process ends: the kernel kills it when the thread
// that started it goes away (Linux only). Threads of a Go program may come and go, so a goroutine that keeps the thread
// to itself starts the stage and stays until it has exited.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	process, err := startOnce(ctx, spec)
	if err != nil && spec.Addr == "" && strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		process, err = startOnce(ctx, spec)
	}
	return process, err
}

func startOnce(ctx context.Context, spec Spec) (*Process, error) {
	process, err := Launch(spec)
	if err != nil {
		return nil, err
	}
	timeout := spec.ReadyTimeout
	if timeout == 0 {
		timeout = readyTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := process.WaitReady(ctx); err != nil {
		process.Kill()
		return nil, fmt.Errorf("start %s: %w\n%s", spec.Name, err, lastLines(process.Log(), 20))
	}
	return process, nil
}

// Launch is Start without the wait: it returns as soon as the process exists. Tests of stages that must not become
// ready use it. The error says why there is no process.
func Launch(spec Spec) (*Process, error) {
	addr := spec.Addr
	if addr == "" {
		var err error
		if addr, err = FreeAddr(); err != nil {
			return nil, err
		}
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	command := exec.Command(spec.Binary, spec.Args...)
	command.Env = environ(spec, addr)
	if spec.Terminal == nil {
		command.Stdout, command.Stderr = writer, writer
		command.SysProcAttr = ownGroup()
	} else {
		command.Stdin, command.Stdout, command.Stderr = spec.Terminal, spec.Terminal, spec.Terminal
		command.SysProcAttr = foreground()
	}
	process := &Process{
		URL: "http://" + addr, Name: spec.Name, Addr: addr,
		command: command, output: &tail{next: spec.Log}, exited: make(chan struct{}),
	}
	started := make(chan error)
	go process.own(reader, writer, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return process, nil
}

// own starts the process, waits for its end and for the rest of its output. It never gives its thread back while the
// process lives.
func (p *Process) own(reader, writer *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.command.Start()
	_ = writer.Close()
	started <- err
	if err != nil {
		_ = reader.Close()
		return
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		p.output.copyFrom(reader)
	}()
	_ = p.command.Wait() // the exit code says it all
	// Orphans may hold the pipe open.
	_ = reader.SetReadDeadline(time.Now().Add(outputWait))
	<-copied
	close(p.exited)
}

// environ returns this process's own environment without Settings, then Spec.Env, then the Spec's fields: the last
// value of a name counts.
func environ(spec Spec, addr string) []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(Settings, name)
	})
	env = append(env, spec.Env...)
	env = append(env, "ADDR="+addr)
	if spec.DatabaseURL != "" {
		env = append(env, "DATABASE_URL="+spec.DatabaseURL)
	}
	if spec.RedisURL != "" {
		env = append(env, "REDIS_URL="+spec.RedisURL)
	}
	return env
}

// FreeAddr returns "127.0.0.1:port" with a port that was free a moment ago.
func FreeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

// WaitReady blocks until the stage answers GET /ready with 200 and GET /health shows this very process, not another
// one that has the port. The error says that the stage exited, with its code, or what the context's end left unfinished.
func (p *Process) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	var last error
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err // the deadline's own error says nothing
		}
		select {
		case <-p.exited:
			return fmt.Errorf("exited with code %d before it was ready", p.ExitCode())
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w (last try: %w)", context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

func (p *Process) ready(ctx context.Context) error {
	if _, err := get(ctx, p.URL+"/ready"); err != nil {
		return err
	}
	health, err := p.Health(ctx)
	if err != nil {
		return err
	}
	if health.MasterPid != p.Pid() {
		return fmt.Errorf("process %d answers at %s, not the one just started: %w", health.MasterPid, p.Addr, syscall.EADDRINUSE)
	}
	return nil
}

// Pid returns the process id: the master's in stages 2 and 5.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Health asks GET /health over a new connection and blocks for at most 5 s.
func (p *Process) Health(ctx context.Context) (Health, error) { return GetHealth(ctx, p.URL) }

// Exited returns a channel that is closed when the stage itself (not necessarily each worker) has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Wait blocks until the stage has ended or the context is done, and returns the context's error then.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s still runs: %w", p.Name, context.Cause(ctx))
	}
}

// ExitCode returns the exit code of a stage that has ended, 128 + the signal's number when a signal ended it, and -1
// while it runs.
func (p *Process) ExitCode() int {
	select {
	case <-p.exited:
	default:
		return -1
	}
	if status, ok := p.command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.command.ProcessState.ExitCode()
}

// Log returns the last 64 KiB of what the stage wrote to stdout and stderr.
func (p *Process) Log() string { return p.output.String() }

// Signal sends a signal to the stage alone: in stages 2 and 5 to the master. The error is os.ErrProcessDone when it has
// ended already.
func (p *Process) Signal(signal os.Signal) error { return p.command.Process.Signal(signal) }

// Tree returns the process ids of the stage and of all its descendants, the stage first, and nothing once the stage has
// ended. Orphans of a dead master are no descendants any more: ask before you kill.
func (p *Process) Tree() []int { return tree(p.Pid()) }

// Stop asks the stage to end (SIGTERM) and blocks until it has, or until the context or 15 s are over: then the whole
// tree is killed. The error says that it had to be killed, or that the exit code was not 0, with the last log lines. A
// stage that had ended before is judged by its exit code too.
func (p *Process) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	if err := p.Wait(ctx); err != nil {
		p.Kill()
		return fmt.Errorf("stop %s: killed: %w\n%s", p.Name, err, lastLines(p.Log(), 20))
	}
	if code := p.ExitCode(); code != 0 {
		return fmt.Errorf("stop %s: exit code %d\n%s", p.Name, code, lastLines(p.Log(), 20))
	}
	return nil
}

// Kill ends the stage and all its descendants with SIGKILL and waits for the stage's end. Killing a stage that has
// ended does nothing.
func (p *Process) Kill() {
	select {
	case <-p.exited:
		return
	default:
	}
	// The master goes first, or it would replace the workers.
	pids := p.Tree()
	_ = p.command.Process.Kill()
	for _, pid := range pids {
		if pid != p.Pid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), killWait)
	defer cancel()
	_ = p.Wait(ctx)
}
