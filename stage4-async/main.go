// Command stage4-async sells with a goroutine per request. model.go is its
// lesson; this file is its wiring.
package main

import (
	"context"
	"io"
	"os"

	"example.com/flashsale/shop/service"
)

var spec = service.Spec{
	Stage:    "stage4-async",
	About:    "Stage 4 of Flashsale: one process, a goroutine per request, bounded by a semaphore.",
	Guard:    "conditional",
	QueueCap: 4096,
}

type config struct {
	service.Config
	Workers service.Count `env:"WORKERS" default:"1024" help:"Orders that are worked on at once."`
}

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	var cfg config
	if err := service.Parse(spec, &cfg, args); err != nil {
		return service.ExitCode(stderr, spec.Stage, err)
	}
	ctx, stop := service.UntilSignal()
	defer stop()
	if cfg.Check {
		return cfg.AskReady(ctx)
	}
	return service.ExitCode(stderr, spec.Stage, serve(ctx, cfg, stderr))
}

// serve opens from the port inward and, by its defers, closes from the
// inside out: HTTP first, which waits for the goroutines of its requests, then
// the database.
func serve(ctx context.Context, cfg config, stderr io.Writer) error {
	ln, err := cfg.Listen(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }()
	if err := cfg.Migrate(ctx); err != nil {
		return err
	}
	backend, err := cfg.Open(ctx, cfg.DBConns, cfg.Logger(stderr))
	if err != nil {
		return err
	}
	defer backend.Close()
	m := newModel(backend.Store, backend.CoalescedProducts(), backend.CoalescedUsers(), backend.Guard, int(cfg.Workers), cfg.QueueCap)
	return cfg.Serve(ctx, ln, backend, service.Topology{Workers: int(cfg.Workers), DBConns: cfg.DBConns}, m)
}
