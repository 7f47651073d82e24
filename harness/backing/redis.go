package backing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"

	"example.com/flashsale/harness/backing/internal/supervise"
)

func redisKind(m machine, embedded bool) kind {
	k := kind{
		name:     "redis",
		variable: "REDIS_URL",
		advice: "install it (Debian, Ubuntu: apt install redis-server; macOS: brew install redis), " +
			"start a container engine (Docker, Podman)",
		check: checkRedis,
		ways: []way{
			{LocalBinaries, m.localRedis},
			{Container, m.containerRedis},
		},
	}
	if embedded {
		k.ways = append(k.ways, way{Embedded, embeddedRedis})
	}
	return k
}

func checkRedis(ctx context.Context, url string) (_ string, err error) {
	opt, err := redis.ParseURL(url)
	if err != nil {
		return "", fmt.Errorf("read the URL: %w", err)
	}
	// go-redis writes each failed dial to stderr, and tries again by itself; while a server starts, failures are usual.
	probe, err := new(net.Dialer).DialContext(ctx, opt.Network, opt.Addr)
	if err != nil {
		return "", err
	}
	if err := probe.Close(); err != nil {
		return "", err
	}
	opt.MaxRetries, opt.DialerRetries, opt.PoolSize = -1, 1, 1
	client := redis.NewClient(opt)
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.Ping(ctx).Err(); err != nil {
		return "", err
	}
	// miniredis has no section "server", some services forbid INFO: such a server has no version, but it works.
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return "", nil
	}
	_, version, _ := strings.Cut(info, "redis_version:")
	version, _, _ = strings.Cut(version, "\r\n")
	return version, nil
}

func redisURL(host, password string) string {
	u := url.URL{Scheme: "redis", Host: host, Path: "0"}
	if password != "" {
		u.User = url.UserPassword("", password)
	}
	return u.String()
}

// localRedis runs a Redis server on a loopback port, with a password. The password is in a file, not among the
// arguments, which everybody can read.
func (m machine) localRedis(ctx context.Context) (started, error) {
	bin, name, ok := m.redisProgram()
	if !ok {
		return started{}, absentError("no redis-server in PATH or in the usual folders")
	}
	user, err := unprivileged()
	if err != nil {
		return started{}, err
	}
	program, password := filepath.Join(bin, name), rand.Text()
	return runLocal(ctx, checkRedis, func(port int) (supervise.Job, string, error) {
		dir, err := dataFolder("redis", m.temp, user)
		if err != nil {
			return supervise.Job{}, "", err
		}
		return m.redisJob(program, dir, password, port, user), redisURL("127.0.0.1:"+strconv.Itoa(port), password), nil
	})
}

func (m machine) redisJob(program, dir, password string, port int, user *supervise.User) supervise.Job {
	return supervise.Job{
		Dir:   dir,
		Files: map[string]string{"redis.conf": redisConfig(port, password)},
		User:  user,
		Run:   []string{program, filepath.Join(dir, "redis.conf")},
		Env:   m.environ(dir),
		Log:   "redis.log",
		Stop:  syscall.SIGTERM, Orphan: syscall.SIGKILL, Grace: stopTimeout,
	}
}

func (m machine) redisProgram() (dir, name string, ok bool) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if dir, ok := m.program(name); ok {
			return dir, name, true
		}
	}
	return "", "", false
}

// redisConfig: no snapshots, since the data is thrown away, and since a fork in the middle of a run would show.
func redisConfig(port int, password string) string {
	return fmt.Sprintf("bind 127.0.0.1\nport %d\nrequirepass %s\nsave \"\"\nappendonly no\n", port, password)
}
