package backing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"

	"example.com/flashsale/harness/backing/internal/supervise"
)

// reaperVariable makes an executable that imports this package a reaper of containers; its value is their label.
const reaperVariable = "FLASHSALE_REAPER"

// reapTimeout bounds the removal of a dead owner's containers.
const reapTimeout = time.Minute

func init() {
	if label := os.Getenv(reaperVariable); label != "" {
		os.Exit(reap(os.Stdin, label))
	}
}

// reaper is a process that removes the containers of its owner when that is gone. testcontainers' own (Ryuk) does
// that too, but it is one more image to pull, needs the engine's socket inside a container, and is often switched off.
type reaper struct {
	label string
	cmd   *exec.Cmd
	stdin io.Closer
}

// startReaper must be called before the first container is made, so that none can be missed.
func startReaper() (*reaper, error) {
	r := &reaper{label: rand.Text()}
	cmd, err := supervise.Reexec(reaperVariable, r.label, "flashsale-reaper")
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	r.cmd = cmd
	if r.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("reaper's stdin: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start reaper: %w", err)
	}
	return r, nil
}

// finish ends the reaper and waits for it. Unless all is removed already, the reaper tries to do so first.
func (r *reaper) finish(removed bool) error {
	if removed {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait() // "signal: killed"
		return nil
	}
	_ = r.stdin.Close()
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("containers with the label %s=%s may be left: %w", ownerLabel, r.label, err)
	}
	return nil
}

// reap is the reaper's main. It returns the exit code.
func reap(in io.Reader, label string) int {
	// Only the owner's end counts, not a signal for the whole terminal.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	_, _ = io.Copy(io.Discard, in)
	ctx, cancel := context.WithTimeout(context.Background(), reapTimeout)
	defer cancel()
	quietTestcontainers()
	api, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return 1
	}
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	// The engine may still be making a container for a request of the dead owner: look until twice there was none.
	for none := 0; none < 2; {
		left, err := removeLabelled(ctx, api, label)
		if err == nil && left == 0 {
			none++
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 1
		}
	}
	return 0
}

// removeLabelled removes the containers with the label and their volumes, and says how many there were.
func removeLabelled(ctx context.Context, api *testcontainers.DockerClient, label string) (int, error) {
	list, err := api.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", ownerLabel+"="+label),
	})
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, c := range list.Items {
		_, err := api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		errs = append(errs, err)
	}
	return len(list.Items), errors.Join(errs...)
}
