package chaos

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"example.com/flashsale/harness/stage"
)

// upgrade puts a new file in the place of the stage's program and has the master become that, again and again.
func upgrade(ctx context.Context, t *trial) error {
	for t.lasts(ctx) {
		workers, _ := t.watch.latest()
		if err := install(t.program, t.Binary); err != nil {
			return err
		}
		if err := t.process.Signal(syscall.SIGUSR2); err != nil {
			return err
		}
		t.result.Times++
		took, err := t.watch.until(ctx, "the master and all workers are the new program", func(now []stage.Worker) bool {
			old := slices.ContainsFunc(now, func(w stage.Worker) bool {
				return slices.ContainsFunc(workers, func(before stage.Worker) bool { return before.Pid == w.Pid })
			})
			return !old && len(now) == t.health.Processes && len(serving(now)) == len(now) && !isReplaced(t.process.Pid())
		})
		if err != nil {
			return err
		}
		t.recovered(took)
	}
	return ctx.Err()
}

// copyProgram gives the trial a program of its own, which can be replaced. The caller calls remove in the end.
func (t *trial) copyProgram() (remove func(), err error) {
	folder, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return nil, err
	}
	remove = func() { _ = os.RemoveAll(folder) }
	t.program = filepath.Join(folder, filepath.Base(t.Binary))
	if err := install(t.program, t.Binary); err != nil {
		remove()
		return nil, err
	}
	return remove, nil
}

// canUpgrade says whether a master can become another program on this system.
const canUpgrade = runtime.GOOS == "linux"

// isReplaced says whether another file is in the place of the one that the process executes.
func isReplaced(pid int) bool {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err != nil || strings.HasSuffix(path, " (deleted)")
}

// install copies a program and puts the copy in place by renaming, as a deployment does.
func install(path, program string) error {
	from, err := os.Open(program)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	for _, step := range []func() error{func() error { return to.Chmod(0o700) }, to.Close, func() error { return os.Rename(to.Name(), path) }} {
		if err == nil {
			err = step()
		}
	}
	return err
}
