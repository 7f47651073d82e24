// Package backing finds or starts the services that a stage needs: Postgres and, for some guards, Redis.
//
// For each service it takes the first of these ways that works, and says in one line which:
//
//  1. environment: DATABASE_URL, REDIS_URL. A set variable that does not lead to a server is an error.
//  2. shared instance: what another process of the same user started and published (Options.Share). It ends with
//     that process.
//  3. local binaries: initdb, postgres and redis-server (or valkey-server) of this machine run as a private,
//     throw-away instance on a loopback port, with a random password, in a temporary folder on a real disk.
//  4. container: the images of docker-compose.yml, through testcontainers-go.
//  5. embedded: miniredis in this process, if Options.Embedded allows it. There is no such way for Postgres:
//     embedded-postgres can fetch binaries, but only together with starting them, not as root, and not tied to
//     their owner's life.
//
// If none works, the error says what to install or which variable to set.
//
// # What is started ends with its owner
//
// Close ends everything. If the owner dies first, SIGKILL included, a supervisor process does: it stops the server and
// removes its folder. The supervisor is a second instance of the same executable, recognised in an init function by
// the environment variable FLASHSALE_SUPERVISOR, so any program that imports this package works (see
// internal/supervise). For containers another such process asks the engine to remove them.
//
// # Fair figures
//
// Postgres runs with its own defaults (fsync and synchronous_commit on), but for max_connections = 200. Its data
// folder is never on tmpfs, where fsync costs nothing. Redis writes no snapshots, since its data is thrown away.
//
// Linux and macOS are supported.
package backing

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// Sources of a service, in the order in which they are tried.
const (
	Environment    = "environment"
	SharedInstance = "shared instance"
	LocalBinaries  = "local binaries"
	Container      = "container"
	Embedded       = "embedded"
)

const (
	patience     = 5 * time.Minute  // bounds Start when its context does not: enough to pull the images
	checkTimeout = 2 * time.Second  // bounds one look at a server on this machine
	farTimeout   = 10 * time.Second // the same for one that may be anywhere
)

// Service is one running server.
type Service struct {
	URL     string // with user and password
	Source  string // one of the constants above
	Version string // of the server, "15.18"
}

// Options choose what Start does. The zero value asks for Postgres alone.
type Options struct {
	Redis    bool      // Redis too
	Embedded bool      // Redis may be miniredis in this process, when there is nothing better
	Share    bool      // other processes of this user may use what is started here
	Out      io.Writer // gets one line per service: which was taken; nil for none

	private bool // never the shared instance: its owner may end in the middle of a test
}

// Services are the servers that Start found. The fields must not be changed.
type Services struct {
	Postgres Service
	Redis    Service // zero unless asked for

	mu    sync.Mutex
	stops []func() error
}

// Start finds or starts what opt asks for, and blocks until all of it answers, ctx ends, or five minutes have passed.
// After an error nothing is left running. Once Start has returned, ctx has no effect: call Close.
// Concurrent calls, in one process or in several, do not disturb one another.
func Start(ctx context.Context, opt Options) (*Services, error) {
	return start(ctx, opt, thisMachine())
}

func start(ctx context.Context, opt Options, m machine) (*Services, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out := &lines{w: opt.Out}
	s := &Services{}
	var postgresErr, redisErr error // both are worth reading: a newcomer may lack both
	var group sync.WaitGroup
	group.Go(func() { postgresErr = s.find(ctx, postgresKind(m), &s.Postgres, opt, m, out) })
	if opt.Redis {
		group.Go(func() { redisErr = s.find(ctx, redisKind(m, opt.Embedded), &s.Redis, opt, m, out) })
	}
	group.Wait()
	if err := errors.Join(postgresErr, redisErr); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close stops what Start started and blocks until it is gone, which takes seconds. The error says what could not be
// cleaned up, or that a server had ended before. It may be called more than once; later calls do nothing.
func (s *Services) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(s.stops))
	var group sync.WaitGroup
	for i, stop := range s.stops {
		group.Go(func() { errs[i] = stop() })
	}
	group.Wait()
	s.stops = nil
	return errors.Join(errs...)
}

// onClose has Close call stop.
func (s *Services) onClose(stop func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stops = append(s.stops, stop)
}

// FindPostgres returns the database that is there already: DATABASE_URL, unchecked, or else the shared instance of a
// running process, if it answers. It starts nothing, and blocks for two seconds at most.
func FindPostgres(ctx context.Context) (url string, ok bool) {
	return findPostgres(ctx, thisMachine())
}

func findPostgres(ctx context.Context, m machine) (string, bool) {
	k := postgresKind(m)
	if url := m.getenv(k.variable); url != "" {
		return url, true
	}
	s, ok := m.shares(k).lookup(ctx, k.check)
	return s.URL, ok
}
