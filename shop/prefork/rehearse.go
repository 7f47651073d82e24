package prefork

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// rehearse executes the command as a master that is to follow this one, up to the moment before it would take over. It
// blocks until that process has ended; the end of ctx kills it. nil means that the process could follow. Else the error
// says why not, in the process's last words.
func rehearse(ctx context.Context, command Command, call calling, stderr io.Writer) error {
	call.Rehearsal = true
	value, err := json.Marshal(call)
	if err != nil {
		return err
	}
	answer, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	words := &tail{out: stderr}
	cmd := exec.CommandContext(ctx, command.Path, command.Args...)
	cmd.Env = command.environment(callingEnv, string(value))
	cmd.ExtraFiles = []*os.File{theirs} // answerFd
	cmd.Stdout, cmd.Stderr = words, words
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = startUnblocked(cmd.Start)
	_ = theirs.Close()
	if err != nil {
		return err
	}
	err = cmd.Wait()
	_ = answer.SetReadDeadline(time.Now().Add(time.Second)) // for a grandchild that has inherited the other end
	text, _ := io.ReadAll(io.LimitReader(answer, int64(len(answerGood))))
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && string(text) != answerGood:
		err = errors.New("it ended without an answer, so it is no master of this kind")
	case err == nil:
		return nil
	}
	if last := strings.TrimSpace(words.String()); last != "" {
		return fmt.Errorf("%w: %s", err, last)
	}
	return err
}
