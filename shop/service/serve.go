package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/httpapi"
	"example.com/flashsale/shop/metrics"
	"example.com/flashsale/shop/prefork"
)

const (
	readTimeout  = 5 * time.Second
	idleTimeout  = 120 * time.Second
	maxHeader    = 16 << 10
	exitBySignal = 130
)

// UntilSignal returns a context that ends with the first SIGTERM or SIGINT. A
// second one ends the process at once, with exit code 130. stop ends the
// watching.
func UntilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-signals:
				if ctx.Err() != nil {
					os.Exit(exitBySignal)
				}
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// Topology is what a stage says of its model in /health. Zero values mean one
// process, which is its own master.
type Topology struct {
	MasterPID int
	// Processes is the largest number of processes that can sell at once.
	Processes int
	// Workers is the number of orders that one process works on at once.
	Workers int
	// DBConns is the number of connections of all processes together.
	DBConns int

	// What follows is for a worker of a master; see Budget.Topology.

	// Slot is which of the workers this process is.
	Slot int
	// Wanted, where given, returns how many workers there should be now.
	Wanted func() int
	// Roster, where given, returns all workers; /ready waits until they serve.
	Roster func() prefork.Roster
	// Served, where given, is called once for every request for an order.
	Served func()
	// BeatIf, where given, makes the heartbeat depend on a check.
	BeatIf func(check func() bool)

	// MeasureBusy, where given, is handed what says how busy this process is.
	MeasureBusy func(share func() float64)
	// GiveAway, where given, is handed what makes room for new workers.
	GiveAway func(shed func(share float64))
	// MasterLife, where given, ends when the master dies.
	MasterLife    context.Context //nolint:containedctx // nobody passes it on
	folder        metrics.Folder  // where the figures of all workers meet
	masterVersion string
}

// Serve answers HTTP on ln until ctx ends, then stops accepting and waits for
// what is in flight, for at most the shutdown timeout. The model behind
// placer must run until Serve has returned.
func (c *Config) Serve(ctx context.Context, ln net.Listener, b *Backend, t Topology, placer httpapi.Placer) error {
	collectLess()
	figures := t.figures(b)
	defer figures.close()
	api := httpapi.New(httpapi.Config{
		Placer: guard.Front(b.Guard, placer), Reader: b.Store, Info: c.info(t),
		RequestTimeout: c.RequestTimeout, Metrics: b.Metrics, Gatherer: figures, Log: b.Log, Served: t.Served,
		Started: t.started(), Processes: t.Wanted, Workers: t.workers(),
	})
	srv := prefork.NewServer(&http.Server{
		Handler:           api,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      c.writeTimeout(),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(b.Log.Handler(), slog.LevelDebug),
	})
	if guard.IgnoresContext(c.Guard) {
		srv.IgnoreDisconnects()
	}
	stopProfile, err := c.startProfile()
	if err != nil {
		return err
	}
	defer stopProfile()
	if t.BeatIf != nil {
		// Whatever an order waits for has a deadline: a request that is open for longer hangs.
		t.BeatIf(func() bool { return srv.LongestActive() < readTimeout+c.writeTimeout() })
	}
	if t.MeasureBusy != nil {
		t.MeasureBusy(busyShare(srv.BusyTime, max(t.Workers, 1)))
	}
	if t.GiveAway != nil {
		t.GiveAway(srv.Shed)
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	b.Log.Info("serving", "addr", ln.Addr().String(), "guard", c.Guard, "expected", c.info(t).Expected)
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	api.Drain()
	b.Log.Info("stopping: finishing what is in flight", "at_most", c.ShutdownTimeout)
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ShutdownTimeout)
	defer cancel()
	err = srv.Shutdown(stopCtx)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		_ = srv.Close()
		return fmt.Errorf("stopped with requests in flight: %w", err)
	}
	b.Log.Info("stopped")
	return nil
}

// writeTimeout bounds a request from its head on. The answer may follow a COMMIT
// that began in time.
func (c *Config) writeTimeout() time.Duration {
	return readTimeout + 2*c.RequestTimeout + 5*time.Second
}

func (c *Config) info(t Topology) httpapi.Info {
	i := httpapi.Info{
		Stage: c.stage, Version: Version(), MasterVersion: Version(), Guard: c.Guard, PID: os.Getpid(), MasterPID: os.Getpid(), Processes: 1,
		Workers: max(t.Workers, 1), DBConns: t.DBConns, QueueCap: c.QueueCap,
		UserLatencyMS: float64(c.UserLatency) / float64(time.Millisecond),
	}
	if t.MasterPID != 0 {
		i.MasterPID, i.MasterVersion, i.Processes = t.MasterPID, t.masterVersion, t.Processes
	}
	// What runs at once is bounded by the connections of one process, too.
	i.Expected = guard.Expected(c.Guard, i.Processes, min(i.Workers, max(t.DBConns/i.Processes, 1)))
	return i
}

// started returns what /ready waits for.
func (t Topology) started() func() bool {
	if t.Roster == nil {
		return nil
	}
	return func() bool { return t.Roster().Started }
}

// workers returns what /health lists.
func (t Topology) workers() func() []httpapi.Worker {
	if t.Roster == nil {
		return nil
	}
	return func() []httpapi.Worker {
		now, all := time.Now(), []httpapi.Worker{}
		for _, m := range t.Roster().Workers {
			w := httpapi.Worker{
				Slot: m.Slot, PID: m.PID, State: string(m.State), AgeSeconds: max(now.Sub(m.Started).Seconds(), 0),
				Requests: m.Requests, Generation: m.Generation,
			}
			if !m.Ready.IsZero() {
				w.BootMS = new(float64(m.Ready.Sub(m.Started)) / float64(time.Millisecond))
			}
			all = append(all, w)
		}
		return all
	}
}

// AskReady asks the stage at c.Addr for /ready and returns the exit code of
// --check: 0 when it is ready, 1 when not.
func (c *Config) AskReady(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, c.RequestTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: --addr %q is not host:port\n", c.stage, c.Addr)
		return 1
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/ready", nil)
	if err == nil {
		var resp *http.Response
		if resp, err = http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return 0
			}
			err = errors.New("it answers " + resp.Status)
		}
	}
	fmt.Fprintf(os.Stderr, "%s: the stage at %s is not ready: %v\n", c.stage, c.Addr, err)
	return 1
}
