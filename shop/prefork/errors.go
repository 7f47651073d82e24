package prefork

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Causes of the end of a worker's context (see Worker.Context and context.Cause).
var (
	// ErrStopped means that the worker was told to stop, by its master or by an operator.
	ErrStopped = errors.New("prefork: told to stop")
	// ErrOrphaned means that the master is gone. The process exits within OrphanGrace, whatever it does.
	ErrOrphaned = errors.New("prefork: the master is gone")
)

// BadConfigCode is the exit code by which a worker says that its configuration is bad, so that trying again is useless.
// A Go program also ends with it after a panic.
const BadConfigCode = 2

// ExitError says that the master gave up because workers ended before they were ready.
type ExitError struct {
	Slot     int            // slot of the worker that ended last
	PID      int            // its process id
	Code     int            // its exit code, 1 or more; 1 when a signal ended it
	Signal   syscall.Signal // the signal that ended it, or 0
	Failures int            // consecutive deaths before ready in this slot
	Reason   string         // why the master killed it, or ""
	Words    string         // the end of what it wrote to standard error; already copied to Config.Stderr
}

// Error returns one sentence and the worker's last words.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("prefork: worker %d ended before it was ready (%s)", e.Slot, e.how())
	if e.Failures > 1 {
		text += fmt.Sprintf(", %d times in a row", e.Failures)
	}
	if words := strings.TrimSpace(e.Words); words != "" {
		text += ": " + words
	}
	return text
}

func (e *ExitError) how() string {
	switch {
	case e.Reason != "":
		return e.Reason
	case e.Signal != 0:
		return e.Signal.String()
	default:
		return fmt.Sprintf("exit code %d", e.Code)
	}
}
