package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/shop/guard"
)

var spec = Spec{Stage: "stage0-test", About: "Stage 0 of Flashsale: a test.", Guard: "mutex", QueueCap: 77, Processes: 3}

// stageConfig is what the main of a stage with a master and a flag of its own
// parses into.
type stageConfig struct {
	Config
	Processes
	Workers int `env:"WORKERS" default:"16" help:"Executors."`
}

// clean removes what the environment says, for the time of a test.
func clean(t *testing.T) {
	t.Helper()
	var remove func(reflect.Type)
	remove = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Anonymous {
				remove(f.Type)
				continue
			}
			if name := f.Tag.Get("env"); name != "" {
				t.Setenv(name, "") // so that it is put back
				if err := os.Unsetenv(name); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	remove(reflect.TypeFor[stageConfig]())
}

// parse parses in a clean environment; env are variables as name=value.
func parse(t *testing.T, env, args []string) (stageConfig, error) {
	t.Helper()
	clean(t)
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	var cfg stageConfig
	err := Parse(spec, &cfg, args)
	return cfg, err
}

const db = "--database-url=postgres://localhost/shop"

func TestParseDefaults(t *testing.T) {
	cfg, err := parse(t, nil, []string{db})
	if err != nil {
		t.Fatal(err)
	}
	want := stageConfig{
		Config: Config{
			Addr: "127.0.0.1:8080", DatabaseURL: "postgres://localhost/shop", Guard: "mutex", DBConns: 8, QueueCap: 77,
			RequestTimeout: 2 * time.Second, ShutdownTimeout: 10 * time.Second, LogLevel: slog.LevelInfo, LogFormat: "text",
			BatchSize: 1000, SoldOutFor: 100 * time.Millisecond, stage: "stage0-test",
		},
		Processes: Processes{Processes: 3, Listen: "reuseport", HeartbeatTimeout: 10 * time.Second},
		Workers:   16,
	}
	if cfg != want {
		t.Errorf("Parse() made\n%+v, want\n%+v", cfg, want)
	}
}

// settings are all settings: flag, variable, two values, and how to read one.
var settings = []struct {
	flag, env, value, other string
	get                     func(stageConfig) any
}{
	{"addr", "ADDR", "0.0.0.0:1", "0.0.0.0:2", func(c stageConfig) any { return c.Addr }},
	{"database-url", "DATABASE_URL", "postgres://a/b", "postgres://c/d", func(c stageConfig) any { return c.DatabaseURL }},
	{"redis-url", "REDIS_URL", "redis://a", "redis://b", func(c stageConfig) any { return c.RedisURL }},
	{"guard", "GUARD", "none", "rowlock", func(c stageConfig) any { return c.Guard }},
	{"db-conns", "DB_CONNS", "1", "1000", func(c stageConfig) any { return c.DBConns }},
	{"queue-cap", "QUEUE_CAP", "1", "1000000", func(c stageConfig) any { return c.QueueCap }},
	{"user-latency", "USER_LATENCY", "20ms", "1m0s", func(c stageConfig) any { return c.UserLatency }},
	{"request-timeout", "REQUEST_TIMEOUT", "1ms", "1m0s", func(c stageConfig) any { return c.RequestTimeout }},
	{"shutdown-timeout", "SHUTDOWN_TIMEOUT", "1ns", "1h0m0s", func(c stageConfig) any { return c.ShutdownTimeout }},
	{"log-level", "LOG_LEVEL", "DEBUG", "ERROR", func(c stageConfig) any { return c.LogLevel }},
	{"log-format", "LOG_FORMAT", "json", "text", func(c stageConfig) any { return c.LogFormat }},
	{"batch-size", "BATCH_SIZE", "1", "10000", func(c stageConfig) any { return c.BatchSize }},
	{"batch-wait", "BATCH_WAIT", "5ms", "1s", func(c stageConfig) any { return c.BatchWait }},
	{"sold-out-for", "SOLD_OUT_FOR", "0s", "1m0s", func(c stageConfig) any { return c.SoldOutFor }},
	{"processes", "PROCESSES", "1", "9", func(c stageConfig) any { return c.Processes.Processes }},
	{"listen", "LISTEN", "shared", "reuseport", func(c stageConfig) any { return c.Processes.Listen }},
	{"min-processes", "MIN_PROCESSES", "1", "2", func(c stageConfig) any { return c.MinProcesses }},
	{"max-processes", "MAX_PROCESSES", "4", "9", func(c stageConfig) any { return c.MaxProcesses }},
	{"heartbeat-timeout", "HEARTBEAT_TIMEOUT", "0s", "1m0s", func(c stageConfig) any { return c.HeartbeatTimeout }},
	{"max-requests", "MAX_REQUESTS", "1", "2", func(c stageConfig) any { return c.MaxRequests }},
	{"workers", "WORKERS", "1", "2", func(c stageConfig) any { return c.Workers }},
}

func TestFlagsAndEnvironment(t *testing.T) {
	for _, s := range settings {
		t.Run(s.flag, func(t *testing.T) {
			for how, tt := range map[string]struct {
				env, args []string
				want      string
			}{
				"flag":                          {nil, []string{"--" + s.flag + "=" + s.value}, s.value},
				"flag and value":                {nil, []string{"--" + s.flag, s.value}, s.value},
				"variable":                      {[]string{s.env + "=" + s.value}, nil, s.value},
				"the flag wins":                 {[]string{s.env + "=" + s.other}, []string{"--" + s.flag, s.value}, s.value},
				"the flag wins over a bad name": {[]string{s.env + "=" + s.value}, []string{"--" + s.flag, s.other}, s.other},
			} {
				args := tt.args
				if s.flag != "database-url" {
					args = append([]string{db}, args...)
				}
				cfg, err := parse(t, tt.env, args)
				if got := fmt.Sprint(s.get(cfg)); err != nil || got != tt.want {
					t.Errorf("%s: %s, %v, want %s", how, got, err, tt.want)
				}
			}
		})
	}
}

// TestEveryVariableIsTested keeps the table above complete.
func TestEveryVariableIsTested(t *testing.T) {
	t.Parallel()
	tested := map[string]bool{
		"CPU_PROFILE": true, // a folder, for development
		"CONFIG_FILE": true, // TestConfigFile
	}
	for _, s := range settings {
		tested[s.env] = true
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Processes]()} {
		for i := range typ.NumField() {
			if name := typ.Field(i).Tag.Get("env"); name != "" && !tested[name] {
				t.Errorf("%s is not in the table", name)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		env, args []string
		want      string // in the sentence
	}{
		"unknown flag":              {nil, []string{db, "--nonesuch"}, "--nonesuch"},
		"an argument":               {nil, []string{db, "nonesuch"}, "nonesuch"},
		"no value":                  {nil, []string{db, "--addr"}, "--addr"},
		"no database":               {nil, nil, "DATABASE_URL is not set; set it, or let `make run/stage0-test`"},
		"unknown guard":             {nil, []string{db, "--guard=nonesuch"}, `no guard "nonesuch"; choose one of none, mutex`},
		"unknown guard, variable":   {[]string{"GUARD=nonesuch"}, []string{db}, `no guard "nonesuch"`},
		"a guard in capitals":       {nil, []string{db, "--guard=Mutex"}, `no guard "Mutex"`},
		"no Redis":                  {nil, []string{db, "--guard=redlock"}, "REDIS_URL is not set; set it, or let `make run/stage0-test`"},
		"noop by flag":              {nil, []string{db, "--guard=noop"}, "only be set by GUARD=noop"},
		"no connections":            {nil, []string{db, "--db-conns=0"}, "--db-conns"},
		"negative connections":      {nil, []string{db, "--db-conns=-1"}, "--db-conns"},
		"too many connections":      {nil, []string{db, "--db-conns=1001"}, "--db-conns"},
		"connections, no number":    {nil, []string{db, "--db-conns=many"}, "--db-conns"},
		"connections, variable":     {[]string{"DB_CONNS=many"}, []string{db}, "many"},
		"no queue":                  {nil, []string{db, "--queue-cap=0"}, "--queue-cap"},
		"too long a queue":          {nil, []string{db, "--queue-cap=1000001"}, "--queue-cap"},
		"no time for a request":     {nil, []string{db, "--request-timeout=0s"}, "--request-timeout"},
		"too little time":           {nil, []string{db, "--request-timeout=999us"}, "--request-timeout"},
		"too much time":             {nil, []string{db, "--request-timeout=61s"}, "--request-timeout"},
		"a time without a unit":     {nil, []string{db, "--request-timeout=2"}, "--request-timeout"},
		"no time to stop":           {nil, []string{db, "--shutdown-timeout=0s"}, "--shutdown-timeout"},
		"an age to stop":            {nil, []string{db, "--shutdown-timeout=61m"}, "--shutdown-timeout"},
		"negative latency":          {nil, []string{db, "--user-latency=-1ms"}, "--user-latency"},
		"an age of latency":         {nil, []string{db, "--user-latency=61s"}, "--user-latency"},
		"latency, variable":         {[]string{"USER_LATENCY=soon"}, []string{db}, "soon"},
		"an empty batch":            {nil, []string{db, "--batch-size=0"}, "--batch-size"},
		"too large a batch":         {nil, []string{db, "--batch-size=10001"}, "--batch-size"},
		"a negative wait":           {nil, []string{db, "--batch-wait=-1ms"}, "--batch-wait"},
		"too long a wait":           {nil, []string{db, "--batch-wait=2s"}, "--batch-wait"},
		"sold out in the past":      {nil, []string{db, "--sold-out-for=-1s"}, "--sold-out-for"},
		"sold out for too long":     {nil, []string{db, "--sold-out-for=61s"}, "--sold-out-for"},
		"unknown level":             {nil, []string{db, "--log-level=loud"}, "--log-level"},
		"unknown format":            {nil, []string{db, "--log-format=xml"}, "--log-format"},
		"unknown way to listen":     {nil, []string{db, "--listen=loudly"}, "--listen"},
		"a negative number of runs": {nil, []string{db, "--max-requests=-1"}, "--max-requests"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, tt.env, tt.args)
			wantConfigError(t, err, tt.want)
		})
	}
}

// wantConfigError checks that err is one sentence for the terminal, which has
// these words, and that it ends the process with 2.
func wantConfigError(t *testing.T, err error, words string) {
	t.Helper()
	var cfg *ConfigError
	if !errors.As(err, &cfg) {
		t.Fatalf("%v (%T), want a *ConfigError", err, err)
	}
	var out bytes.Buffer
	if code := ExitCode(&out, "stage0-test", err); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	line, rest, _ := strings.Cut(out.String(), "\n")
	if !strings.HasPrefix(line, "stage0-test: ") || !strings.Contains(line, words) || rest != "" || strings.HasSuffix(line, " ") {
		t.Errorf("it says %q, want one line with %q", out.String(), words)
	}
}

func TestNoOpByEnvironmentAlone(t *testing.T) {
	cfg, err := parse(t, []string{"GUARD=noop"}, []string{db})
	if err != nil || cfg.Guard != guard.NoOp {
		t.Errorf("guard %q, %v, want noop", cfg.Guard, err)
	}
	cfg, err = parse(t, []string{"GUARD=noop"}, []string{db, "--guard=rowlock"})
	if err != nil || cfg.Guard != guard.Rowlock {
		t.Errorf("guard %q, %v, want the flag's", cfg.Guard, err)
	}
}

func TestRedlockWithRedis(t *testing.T) {
	cfg, err := parse(t, []string{"REDIS_URL=redis://localhost"}, []string{db, "--guard=redlock"})
	if err != nil || cfg.Guard != guard.Redlock {
		t.Errorf("guard %q, %v", cfg.Guard, err)
	}
}

// TestCheckNeedsNoDatabase: a health check asks a port, whatever is behind it.
func TestCheckNeedsNoDatabase(t *testing.T) {
	cfg, err := parse(t, nil, []string{"--check", "--guard=redlock"})
	if err != nil || !cfg.Check {
		t.Errorf("%+v, %v", cfg, err)
	}
	_, err = parse(t, nil, []string{"--check", "--request-timeout=0s"})
	wantConfigError(t, err, "--request-timeout")
}

func TestStoreConfig(t *testing.T) {
	t.Parallel()
	cfg := Config{DatabaseURL: "postgres://a/b", RequestTimeout: time.Second, DBConns: 8, stage: "stage0-test"}
	got := cfg.Store(3)
	if got.URL != cfg.DatabaseURL || got.AppName != "stage0-test" || got.MaxConns != 3 || got.RequestTimeout != time.Second {
		t.Errorf("Store() = %+v", got)
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	log := (&Config{LogLevel: slog.LevelWarn, LogFormat: "text", stage: "stage0-test"}).Logger(&text)
	log.Info("not this")
	log.Warn("but this", "order", 5)
	for _, want := range []string{"level=WARN", `msg="but this"`, "order=5", "stage=stage0-test", fmt.Sprint("pid=", os.Getpid())} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q does not say %s", text.String(), want)
		}
	}
	if strings.Contains(text.String(), "not this") {
		t.Errorf("%q is below the level", text.String())
	}
	var out bytes.Buffer
	(&Config{LogFormat: "json", stage: "stage0-test"}).Logger(&out).Info("hello")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "hello" || line["stage"] != "stage0-test" || line["pid"] != float64(os.Getpid()) {
		t.Errorf("%v: %s", err, out.Bytes())
	}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		code int
		out  string
	}{
		"none":          {nil, 0, ""},
		"any":           {io.EOF, 1, "stage0-test: EOF\n"},
		"configuration": {badConfig("bad %w", io.EOF), 2, "stage0-test: bad EOF\n"},
		"wrapped":       {fmt.Errorf("worker: %w", badConfig("bad")), 2, "stage0-test: worker: bad\n"},
		"joined":        {errors.Join(io.EOF, badConfig("bad")), 2, "stage0-test: EOF bad\n"},
		"several lines": {errors.Join(errors.New("a"), errors.New("b")), 1, "stage0-test: a b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if code := ExitCode(&out, "stage0-test", tt.err); code != tt.code || out.String() != tt.out {
				t.Errorf("ExitCode() = %d and %q, want %d and %q", code, out.String(), tt.code, tt.out)
			}
		})
	}
	if err := badConfig("bad: %w", io.EOF); !errors.Is(err, io.EOF) {
		t.Errorf("%v does not wrap its cause", err)
	}
}
