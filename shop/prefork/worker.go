package prefork

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// OrphanGrace is how long a worker may still work after its master died. Then the process exits with code 1.
const OrphanGrace = 500 * time.Millisecond

// Worker is this process, seen as a worker. All methods may be called concurrently.
type Worker struct {
	Slot       int // which of the workers this is, from 0 on; a replacement gets the same number
	MasterPID  int
	MaxWorkers int // the most workers that there can be, replacements that start excepted (one at a time)
	Generation int // SIGHUPs that the master had got before it started this worker

	pass     passport
	control  net.Conn
	life     context.Context // ends when the worker is to stop
	end      context.CancelCauseFunc
	master   context.Context // ends when the master is gone
	bereave  context.CancelFunc
	roster   atomic.Pointer[Roster]
	requests atomic.Uint64
	recycle  chan struct{} // asks the heart to ask for a replacement; holds one
	ready    sync.Once
	readyErr error
	alive    atomic.Pointer[func() bool]
	measure  atomic.Pointer[func() float64]
	more     atomic.Pointer[func(float64)]
	balanced int // workers among whom the connections are spread; listen owns it
}

var child = sync.OnceValue(newChild)

// Child returns the worker that this process is, or false if no master started it. Call it before anything that takes
// long: from then on the process notices when its master dies. Every call returns the same worker.
//
// The worker's goroutines live as long as the process. SIGHUP, SIGPIPE and the terminal's stop signals are ignored from
// now on: they are the master's business, and a log line after the master's death must not kill the worker.
func Child() (*Worker, bool) {
	w := child()
	return w, w != nil
}

func newChild() *Worker {
	value, ok := os.LookupEnv(workerEnv)
	if !ok {
		return nil
	}
	_ = os.Unsetenv(workerEnv) // programs that the worker starts are no workers
	w := &Worker{recycle: make(chan struct{}, 1)}
	w.life, w.end = context.WithCancelCause(context.Background())
	w.master, w.bereave = context.WithCancel(context.Background())
	if err := w.join(value); err != nil {
		w.orphan(fmt.Errorf("%w: %w", ErrOrphaned, err))
		return w
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGTTIN, syscall.SIGTTOU)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go w.heed(stop)
	go w.listen()
	return w
}

// join reads the passport and opens the control socket.
func (w *Worker) join(value string) error {
	if err := json.Unmarshal([]byte(value), &w.pass); err != nil {
		return fmt.Errorf("read %s: %w", workerEnv, err)
	}
	w.balanced = w.pass.Workers
	w.Slot, w.MasterPID, w.MaxWorkers, w.Generation = w.pass.Slot, w.pass.MasterPID, w.pass.MaxWorkers, w.pass.Generation
	syscall.CloseOnExec(listenerFd)
	f := os.NewFile(controlFd, "control")
	conn, err := net.FileConn(f) // duplicates, close-on-exec
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	w.control = conn
	return nil
}

// heed ends the context at SIGTERM. The master is told too: it need not be the one who sent the signal.
func (w *Worker) heed(stop <-chan os.Signal) {
	for range stop {
		w.end(ErrStopped)
		_ = w.send(reportLeave)
	}
}

// listen receives rosters until the master is gone.
func (w *Worker) listen() {
	lines := bufio.NewScanner(w.control)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r Roster
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			w.roster.Store(&r)
			w.balance(r)
		}
	}
	w.orphan(ErrOrphaned)
}

// balance gives connections away when there are more workers than before, and all of them serve.
func (w *Worker) balance(r Roster) {
	before := w.balanced
	if r.Wanted > before && !r.Ready() {
		return
	}
	w.balanced = r.Wanted
	if give := w.more.Load(); give != nil && r.Wanted > before {
		(*give)(1 - float64(before)/float64(r.Wanted))
	}
}

// orphan ends the context, and after the grace the process: nobody would restart, stop or kill it any more.
func (w *Worker) orphan(cause error) {
	time.AfterFunc(OrphanGrace, func() { os.Exit(1) })
	w.end(cause)
	w.bereave()
}

// Listener returns the slot's listening socket. Call it once. Closing it leaves the socket open in the master, so what
// waits in its accept queue is served by the worker that takes over.
func (w *Worker) Listener() (net.Listener, error) {
	f := os.NewFile(listenerFd, "listener")
	if f == nil {
		return nil, errors.New("prefork: no listening socket inherited")
	}
	ln, err := net.FileListener(f) // duplicates
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("prefork: inherited listening socket: %w", err)
	}
	return ln, nil
}

// Context returns a context that ends when its parent does, when the worker is told to stop, or when the master dies.
// context.Cause tells the last two apart: ErrStopped, ErrOrphaned.
func (w *Worker) Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	context.AfterFunc(w.life, func() { cancel(context.Cause(w.life)) })
	return ctx
}

// MasterLife returns a context that ends when the master dies, also when the worker had been told to stop before.
func (w *Worker) MasterLife() context.Context { return w.master }

// Ready tells the master that this worker serves, and starts the heartbeat. It does not wait for the master; the error
// says that the master cannot be reached. Later calls do nothing and return the same.
func (w *Worker) Ready() error {
	w.ready.Do(func() {
		if w.readyErr = w.send(reportReady); w.readyErr == nil {
			go w.beat()
		}
	})
	return w.readyErr
}

// BeatIf makes the heartbeat depend on check, which is called before each beat. While it blocks or returns false the
// worker does not beat, and after Config.HeartbeatTimeout the master takes it for hung. Without a check the beat proves
// only that the process runs.
func (w *Worker) BeatIf(check func() bool) { w.alive.Store(&check) }

// MeasureBusy makes each heartbeat tell the share of the time since the one before in which this worker was busy, 0 to 1.
// The master needs it for Config.Scaling.
func (w *Worker) MeasureBusy(share func() float64) { w.measure.Store(&share) }

// GiveAway sets what is called when there are more workers than before: connections that stay open would go on to use the
// old ones alone. share is the part of its connections that this worker should give to the new ones; see Server.Shed. It
// must return soon.
func (w *Worker) GiveAway(give func(share float64)) { w.more.Store(&give) }

// Count says that one more request was served. It is cheap. At the limit of Config.MaxRequests it asks the master for a
// replacement; the worker goes on until it is told to stop.
func (w *Worker) Count() {
	if n := w.requests.Add(1); n == w.pass.MaxRequests {
		w.recycle <- struct{}{} // there is room: the count passes the limit once
	}
}

// Roster returns what the master last told about all workers: at each change, and with fresh request counts about once
// a second while there are requests. Until the first message it is empty. Nobody may change it.
func (w *Worker) Roster() Roster {
	if r := w.roster.Load(); r != nil {
		return *r
	}
	return Roster{}
}

// Workers returns how many workers there should be, as of the last word of the master.
func (w *Worker) Workers() int {
	if r := w.roster.Load(); r != nil {
		return r.Wanted
	}
	return w.pass.Workers
}

// beat is the heart: it sends everything after Ready until the master is gone.
func (w *Worker) beat() {
	tick := time.NewTicker(w.pass.Beat)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-w.recycle:
			err = w.send(reportRecycle)
		case <-tick.C:
			if check := w.alive.Load(); check == nil || (*check)() {
				err = w.say(report{Kind: reportBeat, Requests: w.requests.Load(), Busy: w.busy()})
			}
		}
		if err != nil {
			return // the reader of the control socket sees the end too, and acts
		}
	}
}

// busy returns what the caller measures, or nil.
func (w *Worker) busy() *float64 {
	share := w.measure.Load()
	if share == nil {
		return nil
	}
	return new((*share)())
}

func (w *Worker) send(k kind) error { return w.say(report{Kind: k, Requests: w.requests.Load()}) }

func (w *Worker) say(r report) error {
	if w.control == nil {
		return ErrOrphaned
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = w.control.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("prefork: tell the master: %w", err)
	}
	return nil
}
