package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// removal bounds how long the removal of the folder is tried: a killed server's last children may still write there.
const removal = 5 * time.Second

// supervise is the supervisor's main. It returns the exit code.
func supervise(in io.Reader, out *json.Encoder) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go obey(stop)
	dec := json.NewDecoder(in)
	var job Job
	if err := dec.Decode(&job); err != nil {
		return 2 // the owner died before it could say what to do
	}
	go func() {
		// Nothing more is ever sent: this returns when the owner is gone, or has asked for the end.
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	if err := os.Mkdir(job.Dir, 0o700); err != nil {
		return report(out, job, ended, err) // not ours: it must not be removed
	}
	run(ctx, job, out)
	return report(out, job, ended, remove(job.Dir))
}

// report sends an event, and returns the exit code that goes with it. A dead owner cannot be told, which is no failure.
func report(out *json.Encoder, job Job, kind string, err error) int {
	e := event{Kind: kind}
	if err != nil {
		e.Error = err.Error()
		e.Log = tail(filepath.Join(job.Dir, job.Log))
	}
	_ = out.Encode(e)
	if err != nil {
		return 1
	}
	return 0
}

// obey turns SIGTERM (a machine that shuts down) into the end, and drops the signals of terminals and of a
// dead owner's pipe. They are caught, not ignored, since ignored signals would stay ignored in the server.
func obey(stop func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	for s := range signals {
		if s == syscall.SIGTERM {
			stop()
		}
	}
}

// run fills the folder, runs setup and server, and returns when all have ended. What went wrong is told as an event.
func run(ctx context.Context, job Job, out *json.Encoder) {
	log, err := prepare(job)
	if err != nil {
		report(out, job, exited, err)
		return
	}
	defer func() { _ = log.Close() }()
	if len(job.Setup) > 0 {
		if err := setUp(ctx, job, log); err != nil {
			report(out, job, exited, fmt.Errorf("%s: %w", filepath.Base(job.Setup[0]), err))
			return
		}
	}
	err = serve(ctx, job, log, func(pid int) { _ = out.Encode(event{Kind: started, PID: pid}) })
	if ctx.Err() == nil {
		report(out, job, exited, fmt.Errorf("%s ended by itself: %w", filepath.Base(job.Run[0]), err))
	}
}

// prepare writes the job's files and opens the log.
func prepare(job Job) (*os.File, error) {
	for name, content := range job.Files {
		path := filepath.Join(job.Dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), own(path, job.User)); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(job.Dir, job.Log)
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return log, errors.Join(own(path, job.User), own(job.Dir, job.User))
}

func own(path string, user *User) error {
	if user == nil {
		return nil
	}
	return os.Chown(path, int(user.UID), int(user.GID))
}

// command prepares a program that leads a process group of its own and dies with the supervisor.
func command(job Job, argv []string, log *os.File) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = job.Dir, job.Env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	parentDeath(cmd.SysProcAttr, job.Orphan)
	if job.User != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: job.User.UID, Gid: job.User.GID}
	}
	return cmd
}

// setUp runs the setup program to its end. When ctx ends first, it asks the program and its children to end.
func setUp(ctx context.Context, job Job, log *os.File) error {
	cmd := command(job, job.Setup, log)
	if err := cmd.Start(); err != nil {
		return err
	}
	return await(ctx, job, cmd, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) })
}

// serve runs the server until it ends by itself or ctx does, and then asks its main process to end.
func serve(ctx context.Context, job Job, log *os.File, onStart func(pid int)) error {
	cmd := command(job, job.Run, log)
	if err := cmd.Start(); err != nil {
		return err
	}
	onStart(cmd.Process.Pid)
	if err := await(ctx, job, cmd, func() { _ = cmd.Process.Signal(job.Stop) }); err != nil {
		return err
	}
	return errors.New("exit status 0")
}

// await waits for cmd. When ctx ends first, it calls ask, and kills the process group if that does not help.
// A process id is free for others only after the Wait here, so no stranger is signalled.
func await(ctx context.Context, job Job, cmd *exec.Cmd, ask func()) error {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	ask()
	patience := time.NewTimer(job.Grace)
	defer patience.Stop()
	select {
	case err := <-ended:
		return err
	case <-patience.C:
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return <-ended
	}
}

// remove deletes the folder, and tries again for a while when something still writes into it.
func remove(dir string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(removal)
	defer late.Stop()
	for {
		err := os.RemoveAll(dir)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-late.C:
			return err
		}
	}
}

// tail is the end of a log file, at most 2 KiB, whole lines.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	const most = 2 << 10
	if len(data) > most {
		data = data[len(data)-most:]
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	return string(bytes.TrimSpace(data))
}
