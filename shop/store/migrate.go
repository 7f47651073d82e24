package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	migrateTimeout = time.Minute
	// migrateLock is the advisory lock that migrations hold: an arbitrary
	// number, the same in every process.
	migrateLock = 7_246_301
)

// Migrate brings the database to the newest schema. Any number of processes
// may call it at once: one works, the others wait for its lock and find it
// done. It blocks for at most a minute.
func Migrate(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("the database URL cannot be read: %w", err)
	}
	cfg.ConnectTimeout = connectTimeout
	db := stdlib.OpenDB(*cfg)
	defer func() { _ = db.Close() }()
	// The lock lives in a session of its own and ends with it.
	session, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("the database does not answer: %w", err)
	}
	defer func() { _ = session.Close() }()
	if _, err := session.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, migrateLock); err != nil {
		return fmt.Errorf("wait for other migrations: %w", err)
	}
	return up(ctx, db)
}

func up(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}
