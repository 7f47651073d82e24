package backing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// machine is what the search depends on; tests replace it.
type machine struct {
	getenv     func(string) string
	cache      string   // folder of published instances; "" when the user has none
	temp       []string // where data folders may be made, best first
	binaries   []string // folders with servers, after PATH; patterns, the last match first
	containers bool     // whether to ask for a container engine
}

// thisMachine is the real one.
func thisMachine() machine {
	m := machine{getenv: os.Getenv, containers: true, binaries: []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin",
		"/opt/homebrew/bin", "/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin",
	}}
	m.temp = []string{os.TempDir(), "/var/tmp"}
	if cache, err := os.UserCacheDir(); err == nil {
		m.cache = filepath.Join(cache, "flashsale")
		m.temp = append(m.temp, cache)
	}
	if here, err := os.Getwd(); err == nil {
		m.temp = append(m.temp, here)
	}
	return m
}

// kind is a kind of service and the ways to get one.
type kind struct {
	name     string // "postgres"
	variable string // "DATABASE_URL"
	advice   string // what to install
	check    check
	ways     []way
}

// check connects to a server and returns its version. It does not retry.
type check func(ctx context.Context, url string) (version string, err error)

// within bounds a check: what listens on a port need not be what we look for, and may never say a word.
func (c check) within(ctx context.Context, limit time.Duration, url string) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c(ctx, url)
}

// way is one way to start a server that answers. open returns the server, what to say of it, and how to stop it.
type way struct {
	source string
	open   func(ctx context.Context) (started, error)
}

// started is a server that we run.
type started struct {
	url, version string
	note         string // "throw-away"
	stop         func() error
}

// find sets *to to the first service of kind k that works, and registers how to stop it if it was started here.
func (s *Services) find(ctx context.Context, k kind, to *Service, opt Options, m machine, out *lines) error {
	if url := m.getenv(k.variable); url != "" {
		version, err := k.check.within(ctx, farTimeout, url)
		if err != nil {
			return fmt.Errorf("%s is set, but leads to no usable %s: %w", k.variable, k.name, err)
		}
		*to = Service{URL: url, Source: Environment, Version: version}
		out.say(k, *to, "from "+k.variable)
		return nil
	}
	shares := m.shares(k)
	share := opt.Share
	if share {
		// Two processes that start at once: the second waits, and then uses the first one's.
		unlock, err := shares.lock(ctx)
		switch {
		case ctx.Err() != nil:
			return err
		case err != nil: // it serves its owner all the same
			out.printf("%s: other processes will not find it: %v\n", k.name, err)
			share = false
		default:
			defer unlock()
		}
	}
	if !opt.private {
		if found, ok := shares.lookup(ctx, k.check); ok {
			*to = found
			out.say(k, *to, "of another process")
			return nil
		}
	}
	server, source, err := k.open(ctx, out)
	if err != nil {
		return err
	}
	s.onClose(server.stop)
	*to = Service{URL: server.url, Source: source, Version: server.version}
	out.say(k, *to, server.note)
	if !share {
		return nil
	}
	s.onClose(shares.withdraw)
	return shares.publish(*to)
}

// open tries the ways in turn. A way that is there but fails is worth a line; one that is not there is not.
func (k kind) open(ctx context.Context, out *lines) (started, string, error) {
	var reasons []string
	for _, w := range k.ways {
		server, err := w.open(ctx)
		if err == nil {
			return server, w.source, nil
		}
		if ctx.Err() != nil {
			return started{}, "", fmt.Errorf("start %s (%s): %w", k.name, w.source, err)
		}
		var absent absentError
		if !errors.As(err, &absent) {
			out.printf("%s: %s did not work: %v\n", k.name, w.source, err)
		}
		reasons = append(reasons, fmt.Sprintf("  %s: %v", w.source, err))
	}
	return started{}, "", fmt.Errorf("no %s:\n%s\n%s, or set %s", k.name, strings.Join(reasons, "\n"), k.advice, k.variable)
}

// absentError says that a way does not exist on this machine.
type absentError string

func (e absentError) Error() string { return string(e) }

// lines writes whole lines for several goroutines.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) printf(format string, args ...any) {
	if l.w == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// A terminal that is gone is no reason to stop.
	_, _ = fmt.Fprintf(l.w, format, args...)
}

// say tells which service was taken, without its password.
func (l *lines) say(k kind, s Service, note string) {
	words := s.Source
	if s.Version != "" {
		words += " " + s.Version
	}
	if u, err := url.Parse(s.URL); err == nil && u.Host != "" {
		words += " on " + u.Host
	}
	l.printf("%s: %s (%s)\n", k.name, words, note)
}
