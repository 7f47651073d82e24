package database

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/procfs"
)

// Facts describe the database server, as far as they decide how fast it can be. What
// cannot be known is nil.
type Facts struct {
	Version           string  // "15.20"
	Fsync             string  // "on" or "off"
	SynchronousCommit string  // of our sessions, which is the default
	Filesystem        *string // that holds the data; nil unless the server runs on this machine and we may look
	FsyncUS           *int64  // what it takes to make a commit durable, in microseconds; see flushTime
}

// Describe asks the server about itself, and measures how long it takes it to make a
// commit durable. It blocks for about half a second at most, and changes no table.
func (d *DB) Describe(ctx context.Context) (Facts, error) {
	var f Facts
	var started time.Time
	err := d.pool.QueryRow(ctx, `
		SELECT split_part(current_setting('server_version'), ' ', 1), current_setting('fsync'),
		       current_setting('synchronous_commit'), pg_postmaster_start_time()`).
		Scan(&f.Version, &f.Fsync, &f.SynchronousCommit, &started)
	if err != nil {
		return Facts{}, fmt.Errorf("cannot read the settings of the database: %w", err)
	}
	// Only a privileged role may read the folder.
	var folder string
	if d.pool.QueryRow(ctx, `SELECT current_setting('data_directory')`).Scan(&folder) == nil && isDataFolder(folder, started) {
		f.Filesystem = filesystem(folder)
	}
	if flush, err := d.flushTime(ctx); err == nil {
		us := flush.Microseconds()
		f.FsyncUS = &us
	}
	return f, ctx.Err()
}

// Bounds of the measurement of flushTime.
const (
	flushPairs  = 101
	flushBudget = 400 * time.Millisecond
)

// flushTime returns what it takes the server to make a commit durable on its own disk:
// the median difference between a commit that waits for its log record to be flushed
// and, right after it, one that does not. Both travel the same way and write the same
// record, a logical message that belongs to no table. So it holds for a server in a
// container or on another machine too, and for the server's own way to sync, which
// writing a file of ours and syncing that would not. It is about 0 with fsync off.
func (d *DB) flushTime(ctx context.Context) (time.Duration, error) {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	defer func() {
		// A session that kept the setting must not go back into the pool.
		if _, err := conn.Exec(context.WithoutCancel(ctx), `RESET synchronous_commit`); err != nil {
			_ = conn.Conn().Close(context.WithoutCancel(ctx))
		}
	}()
	var differences []time.Duration
	for end := time.Now().Add(flushBudget); len(differences) < flushPairs && time.Now().Before(end); {
		durable, err := timeCommit(ctx, conn, "local")
		if err != nil {
			return 0, err
		}
		lazy, err := timeCommit(ctx, conn, "off")
		if err != nil {
			return 0, err
		}
		differences = append(differences, durable-lazy)
	}
	slices.Sort(differences)
	return max(0, differences[len(differences)/2]), nil
}

// timeCommit returns how long a small commit takes under a setting of
// synchronous_commit.
func timeCommit(ctx context.Context, conn *pgxpool.Conn, setting string) (time.Duration, error) {
	if _, err := conn.Exec(ctx, `SET synchronous_commit = `+setting); err != nil {
		return 0, err
	}
	start := time.Now()
	_, err := conn.Exec(ctx, `SELECT pg_logical_emit_message(true, $1, '')`, ApplicationName)
	return time.Since(start), err
}

// sameStart is how far two clocks' reading of one start of the server may differ:
// the file is written some moments before the server is ready.
const sameStart = 10 * time.Second

// isDataFolder reports whether folder is, on this machine, the data folder of the
// server that started at that time. A server in a container or on another machine
// names a folder that may exist here too, and be another server's.
func isDataFolder(folder string, started time.Time) bool {
	file, err := os.Open(filepath.Join(folder, "postmaster.pid"))
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }() // it was only read
	// Its lines are: process id, folder, start time in Unix seconds, port, …
	lines := bufio.NewScanner(file)
	for range 3 {
		if !lines.Scan() {
			return false
		}
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(lines.Text()), 10, 64)
	return err == nil && started.Sub(time.Unix(seconds, 0)).Abs() < sameStart
}

// filesystem returns the type of the file system that holds folder, or nil where the
// operating system does not tell.
func filesystem(folder string) *string {
	mounts, err := procfs.GetMounts()
	if err != nil {
		return nil
	}
	if resolved, err := filepath.EvalSymlinks(folder); err == nil {
		folder = resolved
	}
	var found *procfs.MountInfo
	for _, m := range mounts {
		// Of two at the same place the later one hides the other.
		if contains(m.MountPoint, folder) && (found == nil || len(m.MountPoint) >= len(found.MountPoint)) {
			found = m
		}
	}
	if found == nil {
		return nil
	}
	return &found.FSType
}

// contains reports whether path lies in the tree at root.
func contains(root, path string) bool {
	relative, err := filepath.Rel(root, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, "../")
}
