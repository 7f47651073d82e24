package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
)

// stageReadyTimeout is how long a stage may take until it serves; it migrates the database first.
const stageReadyTimeout = 20 * time.Second

// serveCmd runs one stage.
type serveCmd struct {
	Stage string `arg:"" help:"Which stage: 1 to 5, or a name such as stage3-threads."`
}

// Help is the long help text.
func (*serveCmd) Help() string {
	return `The stage reads its usual environment: GUARD=none, WORKERS=8, USER_LATENCY=20ms, ADDR=127.0.0.1:8080 and so on.
DATABASE_URL and REDIS_URL choose services that run already; otherwise they are started here and end with this command.
The exit code is the stage's.`
}

// Run starts services and stage and blocks until the stage ends or a signal comes.
func (c *serveCmd) Run(a *app) error {
	name, err := stage.Resolve(c.Stage)
	if err != nil {
		return usagef("%w", err)
	}
	if _, err := stage.Root(); err != nil {
		return usagef("%w", err)
	}
	services, err := startServices(a, backing.Options{Redis: true, Embedded: true, Share: true, Out: a.stderr})
	if err != nil {
		return err
	}
	return errors.Join(c.serve(a, name, services), services.Close())
}

func (c *serveCmd) serve(a *app, name string, services *backing.Services) error {
	_, _ = fmt.Fprintf(a.stderr, "building %s\n", name)
	binary, err := stage.Build(a.ctx, name, stage.BuildOptions{})
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	process, err := stage.Launch(stage.Spec{
		Name: name, Binary: binary, Env: stageSettings(a.getenv), Addr: cmp.Or(a.getenv("ADDR"), "127.0.0.1:8080"),
		DatabaseURL: services.Postgres.URL, RedisURL: services.Redis.URL, Log: a.stderr,
	})
	if err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(a.ctx, stageReadyTimeout)
	defer cancel()
	if err := process.WaitReady(ready); err == nil {
		announce(a, process)
		select {
		case <-process.Exited():
		case <-a.ctx.Done():
		}
	} else if a.ctx.Err() == nil && process.ExitCode() < 0 {
		return errors.Join(err, process.Stop(context.WithoutCancel(a.ctx)))
	}
	return stopServed(a.ctx, process)
}

// stopServed stops a stage, or takes note that it stopped by itself, and passes its exit code on. The stage's log in
// the terminal has explained it.
func stopServed(ctx context.Context, process *stage.Process) error {
	if ctx.Err() == nil && process.ExitCode() != 0 {
		return &exitError{code: process.ExitCode(), err: fmt.Errorf("%s ended with exit code %d; its last lines above say why", process.Name, process.ExitCode())}
	}
	err := process.Stop(context.WithoutCancel(ctx))
	if code := process.ExitCode(); code > 0 {
		return &exitError{code: code, err: err}
	}
	return err
}

// announce says how to use the stage that serves now.
func announce(a *app, process *stage.Process) {
	guard := ""
	if health, err := process.Health(a.ctx); err == nil {
		guard = fmt.Sprintf(" with guard %s (%s)", health.Guard, health.Expected)
	}
	_, _ = fmt.Fprintf(a.stdout, "%s serves%s. Attack it: go run ./loadtest run --target %s   Stop it: Ctrl-C\n", process.Name, guard, reachable(process.Addr))
}

// reachable is the base URL of a listening address. One that means every interface is reached by loopback.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// stageSettings returns the settings of a stage that the user's environment has, but for those that serve chooses.
func stageSettings(getenv func(string) string) []string {
	var env []string
	for _, name := range stage.Settings {
		chosen := slices.Contains([]string{"ADDR", "DATABASE_URL", "REDIS_URL"}, name)
		if value := getenv(name); value != "" && !chosen {
			env = append(env, name+"="+value)
		}
	}
	return env
}
