package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// exitBySignal is the exit code of a process that did not clean up.
const exitBySignal = 130

// errInterrupted is the cause of the end of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// beforeStop is called before anything is said about a signal, by one goroutine: a view must leave the terminal first.
var beforeStop atomic.Pointer[func()]

// untilSignal returns a context that ends with the first SIGINT, SIGTERM or SIGHUP: what runs is then stopped in order.
// A second signal ends the process at once; what it started notices that and ends too. stop ends the watching.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-signals:
				if ctx.Err() != nil {
					os.Exit(exitBySignal)
				}
				if leave := beforeStop.Load(); leave != nil {
					(*leave)()
				}
				_, _ = fmt.Fprintln(os.Stderr, "\nloadtest: stopping (once more to stop at once)")
				cancel(errInterrupted)
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-watched
		cancel(nil)
	}
}
