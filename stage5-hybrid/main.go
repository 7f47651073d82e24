// Command stage5-hybrid sells with several processes, each with a goroutine per
// request. model.go is its lesson; this file is its wiring.
package main

import (
	"context"
	"io"
	"os"
	"runtime"

	"example.com/flashsale/shop/prefork"
	"example.com/flashsale/shop/service"
)

var spec = service.Spec{
	Stage:     "stage5-hybrid",
	About:     "Stage 5 of Flashsale: a master and worker processes, each with a goroutine per request and one committer.",
	Guard:     "batch",
	QueueCap:  4096,
	Processes: runtime.NumCPU(),
}

type config struct {
	service.Config
	service.Processes
	Workers service.Count `env:"WORKERS" default:"1024" help:"Orders that one process works on at once."`
}

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	worker, isWorker := prefork.Child() // first, so that it notices the end of its master
	var cfg config
	if err := service.Parse(spec, &cfg, args); err != nil {
		return service.ExitCode(stderr, spec.Stage, err)
	}
	if isWorker {
		return service.ExitCode(stderr, spec.Stage, work(worker, cfg, stderr))
	}
	ctx, stop := service.UntilSignal()
	defer stop()
	if cfg.Check {
		return cfg.AskReady(ctx)
	}
	return service.ExitCode(stderr, spec.Stage, master(ctx, cfg, stderr))
}

// master forks the workers, replaces those that die, and stops them when ctx
// ends. It serves nothing itself.
func master(ctx context.Context, cfg config, stderr io.Writer) error {
	if err := cfg.Migrate(ctx); err != nil {
		return err
	}
	return cfg.MasterError(prefork.Run(ctx, cfg.Master(&cfg.Config, cfg.Logger(stderr), stderr)))
}

// work is one worker process. It closes from the inside out, as stage 4 does.
func work(w *prefork.Worker, cfg config, stderr io.Writer) error {
	ctx := w.Context(context.Background())
	ln, err := w.Listener()
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }()
	conns := max(cfg.DBConns/w.Workers(), 1)
	backend, err := cfg.Open(ctx, conns, cfg.Logger(stderr))
	if err != nil {
		return err
	}
	defer backend.Close()
	m := newModel(backend.Store, backend.CoalescedUsers(), backend.Guard, int(cfg.Workers), cfg.QueueCap)
	if err := w.Ready(); err != nil {
		return err
	}
	topology := service.Topology{
		MasterPID: w.MasterPID, Processes: w.Workers(), Workers: int(cfg.Workers), DBConns: conns * w.Workers(),
		Served: w.Count, Started: func() bool { return w.Roster().Started },
	}
	return cfg.Serve(ctx, ln, backend, topology, m)
}
