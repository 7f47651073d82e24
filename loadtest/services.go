package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

// startServices finds or starts backing services.
func startServices(a *app, opt backing.Options) (*backing.Services, error) {
	services, err := backing.Start(a.ctx, opt)
	if err != nil {
		return nil, interruptedOr(a.ctx, err)
	}
	return services, nil
}

// onFreshDatabase finds or starts services, makes an empty database, calls do with both, and cleans up, whatever happens.
func onFreshDatabase(a *app, opt backing.Options, do func(services *backing.Services, url string) error) (err error) {
	services, err := startServices(a, opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, services.Close()) }()
	url, drop, err := backing.NewDatabase(a.ctx, services.Postgres.URL)
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	defer func() { err = errors.Join(err, drop(context.WithoutCancel(a.ctx))) }()
	return do(services, url)
}

// findDatabase returns the URL of the database of a stage that runs already, and how it was found.
func findDatabase(a *app, flag string) (url, source string, err error) {
	if flag != "" {
		return flag, backing.Environment, nil
	}
	if url := a.getenv("DATABASE_URL"); url != "" {
		return url, backing.Environment, nil
	}
	if url, ok := backing.FindPostgres(a.ctx); ok {
		return url, backing.SharedInstance, nil
	}
	return "", "", usagef("no database found: give --database-url, set DATABASE_URL, or run the stage with `loadtest serve`, whose database is found by itself")
}

// connect opens the database that url leads to.
func connect(ctx context.Context, url string) (*database.DB, error) {
	db, err := database.Connect(ctx, url)
	if err != nil {
		return nil, interruptedOr(ctx, fmt.Errorf("%s; correct --database-url or DATABASE_URL", oneLine(err)))
	}
	return db, nil
}

// describePostgres asks the database what decides its speed. What it cannot tell stays unknown.
func describePostgres(ctx context.Context, db *database.DB, source string) *report.Postgres {
	facts, err := db.Describe(ctx)
	if err != nil {
		return &report.Postgres{Source: source}
	}
	p := &report.Postgres{
		Source: source, Version: facts.Version, Fsync: report.Text(facts.Fsync),
		SynchronousCommit: report.Text(facts.SynchronousCommit), FsyncUS: facts.FsyncUS,
	}
	if facts.Filesystem != nil {
		p.Filesystem = report.Text(*facts.Filesystem)
	}
	return p
}

// interruptedOr returns err, unless a signal caused it: then there is nothing more to say than that.
func interruptedOr(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	return err
}

// oneLine is the text of an error in one line. The driver repeats a line for each way in which it tried to connect.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}
