// Command stage1-single sells with one goroutine. model.go is its lesson; this
// file is its wiring.
package main

import (
	"context"
	"io"
	"os"
	"runtime"

	"example.com/flashsale/shop/service"
)

// dbConns is what one order at a time needs.
const dbConns = 1

var spec = service.Spec{
	Stage:    "stage1-single",
	About:    "Stage 1 of Flashsale: one process, one core, one goroutine that executes orders.",
	Guard:    "none",
	QueueCap: 64,
}

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	runtime.GOMAXPROCS(1)
	var cfg service.Config
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
// inside out: HTTP first, then the model's queue, then the database.
func serve(ctx context.Context, cfg service.Config, stderr io.Writer) error {
	ln, err := cfg.Listen(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }()
	if err := cfg.Migrate(ctx); err != nil {
		return err
	}
	backend, err := cfg.Open(ctx, dbConns, cfg.Logger(stderr))
	if err != nil {
		return err
	}
	defer backend.Close()
	m := newModel(backend.Store, backend.Users(), backend.Guard, cfg.QueueCap)
	defer m.close()
	return cfg.Serve(ctx, ln, backend, service.Topology{Workers: 1, DBConns: dbConns}, m)
}
