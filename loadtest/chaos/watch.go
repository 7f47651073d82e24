package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/flashsale/harness/stage"
)

const (
	// watchers ask at the same time: the question of one may wait at a worker that has just died.
	watchers   = 3
	watchEvery = 20 * time.Millisecond
	// watchTimeout is longer than a worker needs to be replaced, as a rule, so that a question to a dead one is answered
	// by its replacement.
	watchTimeout = time.Second
	// waitLimit is how long anything may take until the trial is given up.
	waitLimit = time.Minute
)

// watch asks a stage for its workers all the time.
type watch struct {
	cancel context.CancelFunc
	asking sync.WaitGroup
	mu     sync.Mutex
	now    []stage.Worker
	news   chan struct{} // closed, and replaced, when now is new
}

func startWatch(ctx context.Context, process *stage.Process) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{cancel: cancel, news: make(chan struct{})}
	for range watchers {
		w.asking.Go(func() {
			for sleep(ctx, watchEvery) {
				w.ask(ctx, process)
			}
		})
	}
	return w
}

func (w *watch) ask(ctx context.Context, process *stage.Process) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	health, err := process.Health(ctx)
	if err != nil {
		return // a worker died with the question
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = health.WorkerProcesses
	close(w.news)
	w.news = make(chan struct{})
}

// stop ends the asking and waits for it. It may be called again.
func (w *watch) stop() {
	w.cancel()
	w.asking.Wait()
}

// latest returns the last answer, and a channel that is closed when there is another.
func (w *watch) latest() ([]stage.Worker, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now, w.news
}

// errLate means that a condition was not met within waitLimit.
var errLate = errors.New("waited in vain")

// until waits for a roster that meets the condition, from the next answer on, and returns how long that took.
func (w *watch) until(ctx context.Context, what string, condition func([]stage.Worker) bool) (time.Duration, error) {
	began := time.Now()
	deadline := time.NewTimer(waitLimit)
	defer deadline.Stop()
	_, news := w.latest()
	for {
		select {
		case <-news:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-deadline.C:
			now, _ := w.latest()
			return 0, fmt.Errorf("%w for %v until %s; the workers: %+v", errLate, waitLimit, what, now)
		}
		var now []stage.Worker
		if now, news = w.latest(); condition(now) {
			return time.Since(began), nil
		}
	}
}

// serving returns the workers that serve.
func serving(workers []stage.Worker) []stage.Worker {
	var out []stage.Worker
	for _, w := range workers {
		if w.State == stage.Serving {
			out = append(out, w)
		}
	}
	return out
}

// successor returns the worker that serves in the place of a dead one.
func successor(workers []stage.Worker, dead stage.Worker) (stage.Worker, bool) {
	next, found := stage.Worker{}, false
	for _, w := range workers {
		if w.Pid == dead.Pid {
			return stage.Worker{}, false // an answer from before
		}
		if w.Slot == dead.Slot && w.State == stage.Serving {
			next, found = w, true
		}
	}
	return next, found
}
