package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/shop/prefork"
)

// masterOf returns the configuration of a master. again is what it reads anew.
func masterOf(t *testing.T, cfg, again *stageConfig, log io.Writer) prefork.Config {
	t.Helper()
	var err error
	if again == nil {
		err = errors.New("bad configuration")
	}
	m, cleanUp := Master(cfg, func() (MasterConfig, error) { return again, err }, Budget{Workers: 3, MaxWorkers: 5},
		slog.New(slog.NewTextHandler(log, nil)), io.Discard)
	t.Cleanup(cleanUp)
	return m
}

func TestMaster(t *testing.T) {
	t.Parallel()
	cfg := &stageConfig{
		Config:    Config{Addr: "127.0.0.1:8080", ShutdownTimeout: 4 * time.Second},
		Processes: Processes{Listen: "shared", MaxRequests: 1000, HeartbeatTimeout: 7 * time.Second},
	}
	m := masterOf(t, cfg, cfg, io.Discard)
	if m.Addr != cfg.Addr || m.Workers != 3 || m.MaxWorkers != 5 || m.HeartbeatTimeout != 7*time.Second || m.Mode != "shared" || m.MaxRequests != 1000 || m.MaxRequestsJitter != 100 ||
		m.Log == nil || m.Stderr != io.Discard {
		t.Errorf("Master() = %+v", m)
	}
	if m.StopTimeout <= cfg.ShutdownTimeout {
		t.Errorf("a worker is killed after %v, but may take %v to stop", m.StopTimeout, cfg.ShutdownTimeout)
	}
}

// TestNoHeartbeat: 0 is never, for whoever sets it.
func TestNoHeartbeat(t *testing.T) {
	t.Parallel()
	if m := masterOf(t, &stageConfig{}, nil, io.Discard); m.HeartbeatTimeout >= 0 {
		t.Errorf("the heartbeat times out after %v", m.HeartbeatTimeout)
	}
}

// TestMasterReadsAnew: before its workers are replaced. What they cannot change is named.
func TestMasterReadsAnew(t *testing.T) {
	t.Parallel()
	old := &stageConfig{Config: Config{DBConns: 8, QueueCap: 3}, Processes: Processes{Processes: 2}}
	if _, err := masterOf(t, old, nil, io.Discard).Command(); err == nil || !strings.Contains(err.Error(), "bad configuration") {
		t.Errorf("err = %v", err)
	}
	for want, fresh := range map[string]*stageConfig{
		"":                                       {Config: Config{DBConns: 9, QueueCap: 4}, Processes: Processes{Processes: 2}},
		`changed="heartbeat-timeout, processes"`: {Config: Config{DBConns: 9}, Processes: Processes{Processes: 3, HeartbeatTimeout: time.Second}},
		`changed="addr, listen, log-level, max-processes, max-requests, min-processes, shutdown-timeout"`: {
			Config:    Config{Addr: "x", ShutdownTimeout: 1, LogLevel: 4},
			Processes: Processes{Processes: 2, MaxProcesses: 1, MinProcesses: 1, MaxRequests: 1, Listen: "shared"},
		},
	} {
		var log bytes.Buffer
		if _, err := masterOf(t, old, fresh, &log).Command(); err != nil {
			t.Error(err)
		}
		if (want == "") != (log.Len() == 0) || !strings.Contains(log.String(), want) {
			t.Errorf("the log says %q, want %q", log.String(), want)
		}
	}
}

// TestMasterRefusesAnotherGuard: two workers with different guards do not protect the stock from each other.
func TestMasterRefusesAnotherGuard(t *testing.T) {
	t.Parallel()
	old := &stageConfig{Config: Config{Guard: "redlock", DatabaseURL: "postgres://a", RedisURL: "redis://a"}}
	for _, change := range []func(*Config){
		func(c *Config) { c.Guard = "conditional" }, func(c *Config) { c.DatabaseURL = "postgres://b" }, func(c *Config) { c.RedisURL = "redis://b" },
	} {
		fresh := *old
		change(&fresh.Config)
		if _, err := masterOf(t, old, &fresh, io.Discard).Command(); err == nil || !strings.Contains(err.Error(), "could oversell") {
			t.Errorf("%+v: err = %v", fresh.selling(), err)
		}
	}
}

// TestShareKeepsTheGuard: a worker that is started after the file has changed sells as the others do.
func TestShareKeepsTheGuard(t *testing.T) {
	old := &stageConfig{Config: Config{Guard: "redlock", DatabaseURL: "postgres://a", RedisURL: "redis://a"}}
	command, err := masterOf(t, old, old, io.Discard).Command()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range command.Env {
		if name, value, _ := strings.Cut(entry, "="); name == sellingEnv {
			t.Setenv(name, value)
		}
	}
	changed := &Config{DBConns: 8, Guard: "none", DatabaseURL: "postgres://b"}
	if _, err := changed.Share(&prefork.Worker{MaxWorkers: 3}); err != nil || changed.selling() != old.selling() {
		t.Errorf("%+v, %v", changed.selling(), err)
	}
}

// TestShare: the master's word counts.
func TestShare(t *testing.T) {
	t.Parallel()
	w := &prefork.Worker{MaxWorkers: 3}
	if b, err := (&Config{DBConns: 10}).Share(w); err != nil || b.Conns != 2 || b.All() != 4 {
		t.Errorf("%+v, %v", b, err)
	}
	_, err := (&Config{DBConns: 3}).Share(w)
	wantConfigError(t, err, "need 4 database connections and DB_CONNS allows 3")
}

func TestBudget(t *testing.T) {
	t.Parallel()
	cpus := runtime.NumCPU()
	for name, tt := range map[string]struct {
		conns, useful int
		processes     Processes
		want          Budget
	}{
		"defaults of stage 2":           {8, 1, Processes{Processes: 4}, Budget{4, 7, 1}},
		"two workers of two":            {8, 2, Processes{Processes: 2}, Budget{2, 3, 2}},
		"one per CPU":                   {2000, 2, Processes{}, Budget{cpus, 2 * cpus, 2000 / (2*cpus + 1)}},
		"fewer than CPUs":               {4, 2, Processes{}, Budget{1, 1, 2}},
		"one connection is not enough":  {2, 2, Processes{}, Budget{1, 1, 1}},
		"more than are useful":          {30, 2, Processes{Processes: 2}, Budget{2, 4, 6}},
		"more workers than is useful":   {8, 2, Processes{Processes: 6}, Budget{6, 6, 1}},
		"as many as fit":                {8, 1, Processes{Processes: 7}, Budget{7, 7, 1}},
		"most":                          {8, 1, Processes{Processes: 2, MaxProcesses: 3}, Budget{2, 3, 2}},
		"most, and one per CPU":         {100, 1, Processes{MaxProcesses: 1}, Budget{1, 1, 50}},
		"no more than there are at all": {8, 1, Processes{Processes: 3, MaxProcesses: 3}, Budget{3, 3, 2}},
	} {
		got, err := tt.processes.Budget(&Config{DBConns: tt.conns}, tt.useful)
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tt.want)
		}
		if got.Conns*got.All() > tt.conns {
			t.Errorf("%s: %+v is more than %d connections", name, got, tt.conns)
		}
	}
}

func TestBudgetRefuses(t *testing.T) {
	t.Parallel()
	for want, tt := range map[string]struct {
		conns     int
		processes Processes
	}{
		"8 worker processes, and one more while one is replaced, need 9 database connections and DB_CONNS allows 8": {8, Processes{Processes: 8}},
		"need 2 database connections and DB_CONNS allows 1":                                                         {1, Processes{}},
		"need 21 database connections":                                                                              {8, Processes{Processes: 2, MaxProcesses: 20}},
		"--processes -1 is out of range":                                                                            {8, Processes{Processes: -1}},
		"--processes 257 is out of range":                                                                           {1000, Processes{Processes: 257}},
		"--max-processes 3 is out of range; use 4":                                                                  {8, Processes{Processes: 4, MaxProcesses: 3}},
		"--min-processes 5 is out of range; use 0":                                                                  {8, Processes{Processes: 4, MinProcesses: 5}},
		"--max-processes -1 is out of range":                                                                        {8, Processes{Processes: 4, MaxProcesses: -1}},
		"--max-processes 257 is out of range":                                                                       {1000, Processes{Processes: 4, MaxProcesses: 257}},
		"--heartbeat-timeout 100ms is too short":                                                                    {8, Processes{Processes: 4, HeartbeatTimeout: 100 * time.Millisecond}},
		"--heartbeat-timeout -1s is too short; use":                                                                 {8, Processes{Processes: 4, HeartbeatTimeout: -time.Second}},
	} {
		_, err := tt.processes.Budget(&Config{DBConns: tt.conns}, 1)
		wantConfigError(t, err, want)
	}
}

// TestMasterError: what another configuration can mend ends with 2, what a
// worker said itself is not repeated.
func TestMasterError(t *testing.T) {
	t.Parallel()
	cfg := config("", "none")
	ln, err := cfg.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	cfg.Addr = ln.Addr().String()
	_, taken := cfg.Listen(t.Context())
	wantConfigError(t, cfg.MasterError(fmt.Errorf("master: %w", errors.Unwrap(errors.Unwrap(taken)))), "cannot listen on "+cfg.Addr)

	for words, lines := range map[string]int{"": 1, "stage0-test: no Redis": 0} {
		var out bytes.Buffer
		err := cfg.MasterError(&prefork.ExitError{Slot: 2, Code: prefork.BadConfigCode, Words: words})
		if code := ExitCode(&out, "stage0-test", err); code != 2 || strings.Count(out.String(), "\n") != lines {
			t.Errorf("exit code %d, %q: want 2 and %d lines", code, out.String(), lines)
		}
	}

	crashed := &prefork.ExitError{Slot: 2, Code: 1}
	for _, err := range []error{nil, io.EOF, crashed} {
		if got := cfg.MasterError(err); !reflect.DeepEqual(got, err) {
			t.Errorf("MasterError(%v) = %v", err, got)
		}
	}
	var out bytes.Buffer
	if code := ExitCode(&out, "stage0-test", cfg.MasterError(crashed)); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
}
