package backing

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestEnvironmentWins(t *testing.T) {
	t.Parallel()
	there := ForTest(t)
	cache := t.TempDir()
	m := bareMachine(cache)
	if err := m.shares(postgresKind(m)).publish(Service{URL: "postgres://127.0.0.1:1/x"}); err != nil {
		t.Fatal(err)
	}
	m.getenv = func(name string) string {
		return map[string]string{"DATABASE_URL": there.Postgres.URL, "REDIS_URL": there.Redis.URL}[name]
	}
	var out bytes.Buffer
	s := startHere(t, Options{Redis: true, Share: true, Out: &out}, m)
	if s.Postgres.URL != there.Postgres.URL || s.Postgres.Source != Environment || s.Postgres.Version != there.Postgres.Version {
		t.Errorf("postgres: %+v", s.Postgres)
	}
	if s.Redis.URL != there.Redis.URL || s.Redis.Source != Environment {
		t.Errorf("redis: %+v", s.Redis)
	}
	if !strings.Contains(out.String(), "(from DATABASE_URL)") || strings.Contains(out.String(), there.Postgres.URL) {
		t.Errorf("output %q: want the variable, and no password", out.String())
	}
	if url, ok := findPostgres(t.Context(), m); !ok || url != there.Postgres.URL {
		t.Errorf("FindPostgres: %q, %v", url, ok)
	}
}

func TestWrongEnvironment(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"DATABASE_URL": "postgres://u:hunter2@127.0.0.1:1/x", "REDIS_URL": "redis://:hunter2@127.0.0.1:1/0",
	} {
		m := bareMachine(t.TempDir())
		m.binaries = nil
		m.getenv = func(asked string) string {
			if asked == name {
				return url
			}
			return ""
		}
		_, err := start(t.Context(), Options{Redis: true}, m)
		if err == nil || !strings.Contains(err.Error(), name+" is set, but leads to no usable") {
			t.Errorf("error %v, want one that names %s", err, name)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a password in the error: %v", err)
		}
	}
}

func TestNothingAvailable(t *testing.T) {
	t.Parallel()
	m := bareMachine(t.TempDir())
	m.binaries = []string{t.TempDir()}
	m.getenv = func(string) string { return "" }
	_, err := start(t.Context(), Options{Redis: true}, m)
	if err == nil {
		t.Fatal("something started")
	}
	for _, want := range []string{
		"no postgres:", "no initdb and postgres in PATH", "apt install postgresql", "brew install postgresql", "set DATABASE_URL",
		"no redis:", "no redis-server in PATH", "apt install redis-server", "brew install redis", "set REDIS_URL", "no container engine",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

func TestEmbeddedRedis(t *testing.T) {
	t.Parallel()
	there := ForTest(t)
	m := bareMachine(t.TempDir())
	m.binaries = nil
	m.getenv = func(name string) string {
		return map[string]string{"DATABASE_URL": there.Postgres.URL}[name]
	}
	s := startHere(t, Options{Redis: true, Embedded: true}, m)
	if s.Redis.Source != Embedded {
		t.Fatalf("source %q", s.Redis.Source)
	}
	// A lock whose holder has died.
	client := redisClient(t, s.Redis.URL)
	const expiry = 300 * time.Millisecond
	begin := time.Now()
	if err := client.SetNX(t.Context(), "lock", "dead", expiry).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lock expires", func() bool {
		n, err := client.Exists(t.Context(), "lock").Result()
		return err == nil && n == 0
	})
	if took := time.Since(begin); took < expiry-2*heartbeat {
		t.Errorf("the lock expired after %v, want %v", took, expiry)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := checkRedis(t.Context(), s.Redis.URL); err == nil {
		t.Error("it answers after Close")
	}
}
