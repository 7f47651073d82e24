// Command stage2-multiproc sells with several processes, each of which is a
// stage 1. model.go is its lesson; this file is its wiring.
package main

import (
	"context"
	"io"
	"os"
	"runtime"

	"example.com/flashsale/shop/prefork"
	"example.com/flashsale/shop/service"
)

// dbConns is what one process needs, for one order at a time.
const dbConns = 1

var spec = service.Spec{
	Stage:     "stage2-multiproc",
	About:     "Stage 2 of Flashsale: a master and worker processes, each with one core and one goroutine that executes orders.",
	Guard:     "redlock",
	QueueCap:  64,
	Processes: 4,
}

type config struct {
	service.Config
	service.Processes
}

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	runtime.GOMAXPROCS(1)
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
	return service.ExitCode(stderr, spec.Stage, master(ctx, &cfg, args, stderr))
}

// master forks the workers, replaces those that die, and stops them when ctx
// ends. It serves nothing itself.
func master(ctx context.Context, cfg *config, args []string, stderr io.Writer) error {
	budget, err := cfg.Budget(&cfg.Config, dbConns)
	if err != nil {
		return err
	}
	log := cfg.Logger(stderr)
	if err := cfg.Follow(log); err != nil {
		return err
	}
	if err := cfg.Migrate(ctx); err != nil {
		return err
	}
	again := func() (service.MasterConfig, error) {
		fresh := &config{}
		return fresh, service.Parse(spec, fresh, args)
	}
	workers, cleanUp := service.Master(cfg, again, budget, log, stderr)
	defer cleanUp()
	return cfg.MasterError(prefork.Run(ctx, workers))
}

// work is one worker process. It closes from the inside out, as stage 1 does.
func work(w *prefork.Worker, cfg config, stderr io.Writer) error {
	ctx := w.Context(context.Background())
	budget, err := cfg.Share(w)
	if err != nil {
		return err
	}
	budget.Conns = dbConns
	ln, err := w.Listener()
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }()
	backend, err := cfg.Open(ctx, dbConns, cfg.Logger(stderr))
	if err != nil {
		return err
	}
	defer backend.Close()
	m := newModel(backend.Store, backend.Users(), backend.Guard, cfg.QueueCap)
	defer m.close()
	if err := w.Ready(); err != nil {
		return err
	}
	return cfg.Serve(ctx, ln, backend, budget.Topology(w, 1), m)
}
