package backing

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"example.com/flashsale/harness/backing/internal/supervise"
)

// superuser is the name of user and database in what we start.
const superuser = "flashsale"

func postgresKind(m machine) kind {
	return kind{
		name:     "postgres",
		variable: "DATABASE_URL",
		advice: "install it (Debian, Ubuntu: apt install postgresql; macOS: brew install postgresql@17), " +
			"start a container engine (Docker, Podman)",
		check: checkPostgres,
		ways: []way{
			{LocalBinaries, m.localPostgres},
			{Container, m.containerPostgres},
		},
	}
}

func checkPostgres(ctx context.Context, url string) (string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var version string
	if err := conn.QueryRow(ctx, "SHOW server_version").Scan(&version); err != nil {
		return "", err
	}
	version, _, _ = strings.Cut(version, " ") // "15.18 (Debian 15.18-0+deb12u1)"
	return version, nil
}

func postgresURL(host, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password), Host: host, Path: database, RawQuery: "sslmode=disable"}
	return u.String()
}

// localPostgres makes a cluster with initdb and serves it on a loopback port. There is no Unix socket, and each
// connection needs the password: other users of the machine cannot get in.
func (m machine) localPostgres(ctx context.Context) (started, error) {
	bin, ok := m.program("initdb", "postgres")
	if !ok {
		return started{}, absentError("no initdb and postgres in PATH or in the usual folders")
	}
	user, err := unprivileged()
	if err != nil {
		return started{}, err
	}
	password := rand.Text()
	server, err := runLocal(ctx, checkPostgres, func(port int) (supervise.Job, string, error) {
		dir, err := dataFolder("postgres", m.temp, user)
		if err != nil {
			return supervise.Job{}, "", err
		}
		url := postgresURL("127.0.0.1:"+strconv.Itoa(port), password, "postgres")
		return m.postgresJob(bin, dir, password, port, user), url, nil
	})
	if err != nil {
		return started{}, err
	}
	if err := makeDatabase(ctx, server.url, superuser, ""); err != nil {
		return started{}, fmt.Errorf("%w, %w", err, server.stop())
	}
	server.url = strings.Replace(server.url, "/postgres?", "/"+superuser+"?", 1)
	return server, nil
}

func (m machine) postgresJob(bin, dir, password string, port int, user *supervise.User) supervise.Job {
	data := filepath.Join(dir, "data")
	return supervise.Job{
		Dir:   dir,
		Files: map[string]string{"password": password + "\n"},
		User:  user,
		Setup: []string{
			filepath.Join(bin, "initdb"), "--pgdata", data, "--username", superuser, "--pwfile", filepath.Join(dir, "password"),
			"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
		},
		Run: []string{
			filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port),
			"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200",
		},
		Env: m.environ(dir),
		Log: "postgres.log",
		// Immediate shutdown: there is nothing to save, so no final checkpoint.
		Stop: syscall.SIGQUIT, Orphan: syscall.SIGQUIT, Grace: stopTimeout,
	}
}
