package database

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// sampleTimeout bounds one look at the sessions.
const sampleTimeout = time.Second

// theirs selects the client sessions of this database that have the application_name
// $1, or with $1 = ” all but our own. Columns of sessions that we may not look into
// are NULL, but their names and databases are not.
const theirs = `
	FROM pg_stat_activity
	WHERE datname = current_database() AND pid <> pg_backend_pid()
	  AND (backend_type IS NULL OR backend_type = 'client backend')
	  AND (application_name = $1 OR $1 = '' AND application_name <> '` + ApplicationName + `')`

// busy reports whether a session does something, or holds a transaction open. A
// session whose state is hidden from us is an error: nobody could tell.
func (d *DB) busy(ctx context.Context, appName string) (bool, error) {
	var busy, hidden int
	err := d.pool.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE state IS DISTINCT FROM 'idle'),
		       count(*) FILTER (WHERE query = '<insufficient privilege>')`+theirs, appName).Scan(&busy, &hidden)
	if err != nil {
		return false, fmt.Errorf("cannot look at the sessions of the database: %w", err)
	}
	if hidden > 0 {
		return false, fmt.Errorf("cannot see whether %d sessions of the stage are busy: connect as the same role, or grant ours pg_read_all_stats", hidden)
	}
	return busy > 0, nil
}

// Connections returns how many sessions with this application_name are open now.
func (d *DB) Connections(ctx context.Context, appName string) (int, error) {
	var n int
	if err := d.pool.QueryRow(ctx, `SELECT count(*)`+theirs, appName).Scan(&n); err != nil {
		return 0, fmt.Errorf("cannot count the sessions of the database: %w", err)
	}
	return n, nil
}

// ConnectionSampler counts the sessions of a stage in the background.
type ConnectionSampler struct {
	cancel  context.CancelFunc
	ended   sync.WaitGroup
	samples atomic.Int64
	most    int   // of all samples; the goroutine's until it has ended
	err     error // of the last sample that failed; likewise
}

// SampleConnections counts the sessions with this application_name now and every so
// often from now on, until Stop is called or ctx ends. The caller must Stop it before
// the DB is closed.
func (d *DB) SampleConnections(ctx context.Context, appName string, every time.Duration) *ConnectionSampler {
	ctx, cancel := context.WithCancel(ctx)
	s := &ConnectionSampler{cancel: cancel}
	s.ended.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for ctx.Err() == nil {
			s.sample(ctx, d, appName)
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	})
	return s
}

func (s *ConnectionSampler) sample(ctx context.Context, d *DB, appName string) {
	bounded, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	n, err := d.Connections(bounded, appName)
	switch {
	case err == nil:
		s.most = max(s.most, n)
		s.samples.Add(1)
	case ctx.Err() == nil: // otherwise we were stopped in the midst of it
		s.err = err
	}
}

// Stop ends the sampling, waits for it, and returns the highest count; an error means
// that there was not one sample. It may be called again, but not concurrently.
func (s *ConnectionSampler) Stop() (int, error) {
	s.cancel()
	s.ended.Wait()
	switch {
	case s.samples.Load() > 0:
		return s.most, nil
	case s.err != nil:
		return 0, s.err
	}
	return 0, context.Canceled
}
