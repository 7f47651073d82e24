package backing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/flashsale/harness/backing/internal/supervise"
)

const (
	startTimeout = 2 * time.Minute  // for a server to be set up and answer
	stopTimeout  = 10 * time.Second // for it to end, before it is killed
	portAttempts = 5                // a free port can be taken by others before the server binds it
)

// folders lists where to look for programs: PATH, then the machine's known places, newest version first.
func (m machine) folders() []string {
	dirs := filepath.SplitList(m.getenv("PATH"))
	for _, pattern := range m.binaries {
		matches, _ := filepath.Glob(pattern) // the only error is a bad pattern
		slices.SortFunc(matches, func(a, b string) int { return newer(b, a) })
		dirs = append(dirs, matches...)
	}
	return dirs
}

var number = regexp.MustCompile(`\d+`)

// newer compares two paths by the numbers in them, so that 9.6 comes before 15.
func newer(a, b string) int {
	as, bs := number.FindAllString(a, -1), number.FindAllString(b, -1)
	for i := range min(len(as), len(bs)) {
		x, _ := strconv.Atoi(as[i])
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x - y
		}
	}
	return strings.Compare(a, b)
}

// program looks for a folder that has all the named programs; ok is false if there is none.
func (m machine) program(names ...string) (dir string, ok bool) {
	for _, dir := range m.folders() {
		has := func(name string) bool {
			info, err := os.Stat(filepath.Join(dir, name))
			return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
		}
		if filepath.IsAbs(dir) && !slices.ContainsFunc(names, func(name string) bool { return !has(name) }) {
			return dir, true
		}
	}
	return "", false
}

// environ is what servers see: no PGDATA, PGPORT and the like of the user, and messages in English.
func (m machine) environ(home string) []string {
	env := []string{"HOME=" + home, "LC_ALL=C"}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if v := m.getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// freePort is a TCP port of 127.0.0.1 that nobody has at this moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// runLocal starts a server on a free port and waits until check succeeds on its URL.
// job describes the server for a port: what to run and the URL at which it will answer.
func runLocal(ctx context.Context, check check, job func(port int) (supervise.Job, string, error)) (started, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		port, err := freePort()
		if err != nil {
			return started{}, err
		}
		j, url, err := job(port)
		if err != nil {
			return started{}, err
		}
		p, err := supervise.Start(ctx, j)
		if err != nil {
			return started{}, err
		}
		version, err := answers(ctx, p, url, check)
		if err == nil {
			return started{url: url, version: version, note: "throw-away", stop: stopLocal(p)}, nil
		}
		err = errors.Join(err, p.Stop())
		if attempt == portAttempts || !strings.Contains(strings.ToLower(err.Error()), "address already in use") {
			return started{}, err
		}
	}
}

// stopLocal also reports a server that had ended before: somebody killed it, or it crashed, in the middle of the work.
func stopLocal(p *supervise.Process) func() error {
	return func() error {
		early := p.Err()
		return errors.Join(early, p.Stop())
	}
}

// answers waits until check succeeds, the server ends, or ctx does.
func answers(ctx context.Context, p *supervise.Process, url string, check check) (version string, err error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		version, err = check.within(ctx, checkTimeout, url)
		if err == nil {
			return version, nil
		}
		select {
		case <-tick.C:
		case <-p.Exited():
			return "", p.Err()
		case <-ctx.Done():
			return "", fmt.Errorf("it does not answer: %w", err)
		}
	}
}
