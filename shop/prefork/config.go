package prefork

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"
)

// Mode says how the workers share the address.
type Mode string

const (
	// ReusePort gives each worker slot a socket of its own (SO_REUSEPORT): the kernel spreads new connections evenly by
	// their hash. It needs Linux; elsewhere Run uses Shared and says so in the log.
	ReusePort Mode = "reuseport"
	// Shared lets all workers accept from one socket. An idle worker takes the next connection, so one worker can end up
	// with most of the long-lived ones.
	Shared Mode = "shared"
)

// Command is what the master executes as a worker.
type Command struct {
	Path string   // "" = this program (os.Executable)
	Args []string // arguments without the program's name; nil = os.Args[1:]
	Env  []string // whole environment, "KEY=value"; nil = os.Environ()
}

// Config describes a master. Only Addr is required; a zero field takes the default named beside it.
type Config struct {
	Addr       string // host:port to listen on; port 0 takes a free one
	Workers    int    // worker processes at start; number of CPUs
	MaxWorkers int    // the most that SIGTTIN may ask for; 2 × Workers
	Mode       Mode   // ReusePort

	ReadyTimeout     time.Duration // from start to Worker.Ready, then SIGKILL, counted as a crash; 30 s
	StopTimeout      time.Duration // from SIGTERM to exit, then SIGKILL; more than the workers' own limit; 11 s
	QuickTimeout     time.Duration // the same after SIGQUIT to the master; 500 ms
	HeartbeatTimeout time.Duration // without a beat for so long a worker is hung; 10 s; negative: never
	AbortTimeout     time.Duration // from SIGABRT (it writes its goroutines) to SIGKILL for a hung worker; 2 s
	DrainTimeout     time.Duration // how long accept queues may take to empty before sockets are closed; 1 s

	MaxFailures int           // consecutive deaths before ready, in one slot, that end the master, unless it had all and some serve; 5
	BackoffMin  time.Duration // wait after the first of them, doubled each time, with jitter; 200 ms
	BackoffMax  time.Duration // upper bound of that wait; 5 s

	MaxRequests       uint64 // requests (Worker.Count) after which a worker is replaced; 0: never
	MaxRequestsJitter uint64 // up to so many are added, drawn for each worker, so that they do not all leave together; 0

	Scaling Scaling // lets the number of workers follow the load; off

	// Command names what to execute. It is called at start, at each SIGHUP and SIGUSR2, so it can read configuration anew; an error
	// at a signal is logged and changes nothing. nil: this program with the same arguments and environment.
	Command func() (Command, error)

	// OnChange is called with every change of the workers, request counts excepted. It must return quickly: the master
	// waits for it. nil: nobody is told.
	OnChange func(Roster)

	Log    *slog.Logger // slog.Default()
	Stdout *os.File     // standard output of the workers; os.Stdout
	Stderr io.Writer    // receives the workers' standard error; os.Stderr
}

// MaxWorkers is the most that Config.MaxWorkers can be: it bounds the processes, and the length of the steering program.
const MaxWorkers = 256

// withDefaults returns the configuration with every zero field filled in, or an error that names the bad field.
func (c Config) withDefaults() (Config, error) {
	if c.Addr == "" {
		return c, errors.New("prefork: no address to listen on")
	}
	setDefault(&c.Workers, runtime.NumCPU())
	setDefault(&c.MaxWorkers, max(2*c.Workers, 1))
	if c.Workers < 1 || c.Workers > c.MaxWorkers || c.MaxWorkers > MaxWorkers {
		return c, fmt.Errorf("prefork: %d workers (at most %d): want 1 <= workers <= at most <= %d", c.Workers, c.MaxWorkers, MaxWorkers)
	}
	setDefault(&c.Mode, ReusePort)
	if c.Mode != ReusePort && c.Mode != Shared {
		return c, fmt.Errorf("prefork: unknown mode %q: want %q or %q", c.Mode, ReusePort, Shared)
	}
	if c.Scaling.Min < 0 || c.Scaling.Min > c.Workers {
		return c, fmt.Errorf("prefork: at least %d workers: want 0 (no scaling) to %d, the number at start", c.Scaling.Min, c.Workers)
	}
	c.Scaling.setDefaults()
	c.setTimes()
	setDefault(&c.MaxFailures, 5)
	if c.Command == nil {
		c.Command = func() (Command, error) { return Command{}, nil }
	}
	if c.OnChange == nil {
		c.OnChange = func(Roster) {}
	}
	setDefault(&c.Log, slog.Default())
	setDefault(&c.Stdout, os.Stdout)
	setDefault[io.Writer](&c.Stderr, os.Stderr)
	return c, nil
}

// setTimes fills in the durations.
func (c *Config) setTimes() {
	setDefault(&c.ReadyTimeout, 30*time.Second)
	setDefault(&c.StopTimeout, 11*time.Second)
	setDefault(&c.QuickTimeout, 500*time.Millisecond)
	setDefault(&c.HeartbeatTimeout, 10*time.Second)
	setDefault(&c.AbortTimeout, 2*time.Second)
	setDefault(&c.DrainTimeout, time.Second)
	setDefault(&c.BackoffMin, 200*time.Millisecond)
	setDefault(&c.BackoffMax, 5*time.Second)
}

// beatInterval returns how often workers beat: several beats fit into the time-out, and one a second is enough.
func (c *Config) beatInterval() time.Duration {
	if c.HeartbeatTimeout < 0 {
		return time.Second
	}
	return min(time.Second, c.HeartbeatTimeout/5)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// complete returns the command with its empty fields filled in from this process.
func (c Command) complete() (Command, error) {
	if c.Path == "" {
		path, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("prefork: find this program: %w", err)
		}
		c.Path = path
	}
	if c.Args == nil {
		c.Args = os.Args[1:]
	}
	if c.Env == nil {
		c.Env = os.Environ()
	}
	return c, nil
}
