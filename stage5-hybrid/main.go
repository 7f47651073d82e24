// Command stage5-hybrid sells with several processes, each with a goroutine per
// request. model.go is its lesson; this file is its wiring.
package main

import (
	"context"
	"io"
	"os"

	"example.com/flashsale/shop/prefork"
	"example.com/flashsale/shop/service"
)

// dbConns is what one process makes good use of: while one batch commits, the
// other connection answers who asks for something else.
const dbConns = 2

var spec = service.Spec{
	Stage:    "stage5-hybrid",
	About:    "Stage 5 of Flashsale: a master and worker processes, each with a goroutine per request and one committer.",
	Guard:    "batch",
	QueueCap: 4096,
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

// work is one worker process. It closes from the inside out, as stage 4 does.
func work(w *prefork.Worker, cfg config, stderr io.Writer) error {
	ctx := w.Context(context.Background())
	budget, err := cfg.Share(w)
	if err != nil {
		return err
	}
	budget.ShareCPUs()
	ln, err := w.Listener()
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }()
	backend, err := cfg.Open(ctx, budget.Conns, cfg.Logger(stderr))
	if err != nil {
		return err
	}
	defer backend.Close()
	m := newModel(backend.Store, backend.CoalescedUsers(), backend.Guard, int(cfg.Workers), cfg.QueueCap)
	if err := w.Ready(); err != nil {
		return err
	}
	return cfg.Serve(ctx, ln, backend, budget.Topology(w, int(cfg.Workers)), m)
}
