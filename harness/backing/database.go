package backing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// dropTimeout bounds the drop of a database when its context does not.
const dropTimeout = 30 * time.Second

// NewDatabase makes a fresh, empty database with a random name ("test_…") on the server, and returns its URL.
// drop removes it, and ends the sessions that still use it; a context that has ended does not stop it.
// The user of serverURL needs the right to create databases. It may be called concurrently.
func NewDatabase(ctx context.Context, serverURL string) (url string, drop func(context.Context) error, err error) {
	return newDatabase(ctx, serverURL, "")
}

// CloneDatabase is like NewDatabase, but the new database is a copy of the one that templateURL names: migrate once,
// clone for each test. Nobody may be connected to the template meanwhile.
func CloneDatabase(ctx context.Context, templateURL string) (url string, drop func(context.Context) error, err error) {
	config, err := pgx.ParseConfig(templateURL)
	if err != nil {
		return "", nil, fmt.Errorf("clone database: %w", err)
	}
	server, err := withDatabase(templateURL, "postgres")
	if err != nil {
		return "", nil, fmt.Errorf("clone database: %w", err)
	}
	return newDatabase(ctx, server, config.Database)
}

func newDatabase(ctx context.Context, serverURL, template string) (string, func(context.Context) error, error) {
	name := "test_" + strings.ToLower(rand.Text())
	url, err := withDatabase(serverURL, name)
	if err != nil {
		return "", nil, fmt.Errorf("new database: %w", err)
	}
	if err := makeDatabase(ctx, serverURL, name, template); err != nil {
		return "", nil, err
	}
	drop := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
		defer cancel()
		return execute(ctx, serverURL, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)")
	}
	return url, drop, nil
}

// makeDatabase tries again while others use the template, which is usual when many tests start at once.
func makeDatabase(ctx context.Context, serverURL, name, template string) error {
	statement := "CREATE DATABASE " + quote(name)
	if template != "" {
		statement += " TEMPLATE " + quote(template)
	}
	const objectInUse = "55006"
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		err := execute(ctx, serverURL, statement)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != objectInUse {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
	return fmt.Errorf("create database: %s is still in use by others", template)
}

// execute runs one statement on a connection of its own.
func execute(ctx context.Context, url, statement string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to the database server: %w", err)
	}
	_, err = conn.Exec(ctx, statement)
	if err := errors.Join(err, conn.Close(context.WithoutCancel(ctx))); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// withDatabase is the same server with another database, for both forms: postgres://… and host=… dbname=….
func withDatabase(server, name string) (string, error) {
	if _, err := pgx.ParseConfig(server); err != nil {
		return "", err
	}
	if !strings.HasPrefix(server, "postgres://") && !strings.HasPrefix(server, "postgresql://") {
		return server + " dbname=" + name, nil // the last one counts
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}
