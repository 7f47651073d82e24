// Package service is what every stage's main needs around its model:
// configuration, logging, metrics, and serving until told to stop. It is a
// library that main calls; main shows the topology.
package service

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/store"

	"github.com/alecthomas/kong"
)

// Config is the configuration that all stages share. A stage embeds it in a
// struct of its own flags.
type Config struct {
	Addr            string        `env:"ADDR" default:"127.0.0.1:8080" help:"Where to listen (host:port)."`
	DatabaseURL     string        `env:"DATABASE_URL" placeholder:"URL" help:"Postgres, as postgres://user:password@host:port/database. Required."`
	RedisURL        string        `env:"REDIS_URL" placeholder:"URL" help:"Redis, as redis://host:port. Only guard redlock needs it."`
	Guard           string        `env:"GUARD" default:"${guard}" help:"How stock is protected (above)."`
	DBConns         int           `name:"db-conns" env:"DB_CONNS" default:"8" help:"Upper bound of database connections, over all processes."`
	QueueCap        int           `env:"QUEUE_CAP" default:"${queue_cap}" help:"Orders that may wait in one process; one more is answered 503."`
	UserLatency     time.Duration `env:"USER_LATENCY" default:"0s" help:"Simulated latency of the user look-up."`
	RequestTimeout  time.Duration `env:"REQUEST_TIMEOUT" default:"2s" help:"The longest that an order may take."`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" default:"10s" help:"The longest that a graceful stop may take."`
	LogLevel        slog.Level    `env:"LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
	LogFormat       string        `env:"LOG_FORMAT" default:"text" enum:"text,json" help:"text or json."`
	BatchSize       int           `env:"BATCH_SIZE" default:"1000" help:"Guard batch: the most orders in one transaction."`
	BatchWait       time.Duration `env:"BATCH_WAIT" default:"0s" help:"Guard batch: how long to wait for more orders; 0: what arrived during the last commit."`
	SoldOutFor      time.Duration `env:"SOLD_OUT_FOR" default:"100ms" help:"Guard batch: how long a product that was seen with no stock is refused without another look; 0: always look."`
	CPUProfile      string        `name:"cpu-profile" env:"CPU_PROFILE" type:"path" placeholder:"DIR" help:"Write a CPU profile of each process into this folder when it stops."`
	ConfigFile      string        `name:"config" env:"CONFIG_FILE" type:"path" placeholder:"FILE" help:"YAML or JSON with these settings, by the names of the flags. Flags and environment win over it."`
	Check           bool          `help:"Ask the stage that runs at --addr whether it is ready, and exit 0 or 1."`

	stage string
}

// Spec is what a stage says of itself.
type Spec struct {
	// Stage is the name of the stage's folder.
	Stage string
	// About is one sentence for --help.
	About string
	// Guard is the guard that the stage's chapter is about.
	Guard string
	// QueueCap is the default of --queue-cap.
	QueueCap int
	// Processes is the default of --processes, where the stage has that flag.
	Processes int
}

// Count is a flag for a number of workers.
type Count int

// Decode implements kong.MapperValue, which sees flags and environment alike.
func (c *Count) Decode(ctx *kong.DecodeContext) error {
	value, err := ctx.Scan.PopValue("number")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(value.String())
	if err != nil || n < 1 || n > 10_000 {
		return fmt.Errorf("%q is no number from 1 to 10000", value.String())
	}
	*c = Count(n)
	return nil
}

// ConfigError is an error that only another configuration can mend. It ends
// the process with exit code 2.
type ConfigError struct {
	Err  error
	Said bool // somebody else has printed it already
}

// Error returns the sentence for the terminal.
func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

func badConfig(format string, args ...any) error {
	return &ConfigError{Err: fmt.Errorf(format, args...)}
}

func (c *Config) common() *Config { return c }

// Parse reads flags, environment and the configuration file into cli, a pointer
// to a struct that embeds Config. A flag wins over its environment variable,
// and that over the file. It prints --help and exits where that is asked for.
// Errors are a *ConfigError.
func Parse(spec Spec, cli interface{ common() *Config }, args []string) error {
	source := &file{}
	parser, err := kong.New(cli, kong.Resolvers(source), kong.Name(spec.Stage), kong.Description(describe(spec)),
		kong.Vars{"guard": spec.Guard, "queue_cap": strconv.Itoa(spec.QueueCap), "processes": strconv.Itoa(spec.Processes)},
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 110}))
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); err != nil {
		if len(source.values) > 0 {
			return badConfig("%w; see --help, and the configuration %s", err, source.name)
		}
		return badConfig("%w; see --help", err)
	}
	cfg := cli.common()
	cfg.stage = spec.Stage
	return cfg.validate()
}

func describe(spec Spec) string {
	return spec.About + "\n\nGuards (default " + spec.Guard + "):\n" + guard.About() +
		"\nEach flag can be given by the environment variable beside it, or in the file of --config. SIGTERM stops gracefully, a second one at once."
}

func (c *Config) validate() error {
	bounds := []struct {
		name, use string
		ok        bool
	}{
		{"--db-conns", "1 to 1000", c.DBConns >= 1 && c.DBConns <= 1000},
		{"--queue-cap", "1 to 1000000", c.QueueCap >= 1 && c.QueueCap <= 1_000_000},
		{"--request-timeout", "1ms to 1m", c.RequestTimeout >= time.Millisecond && c.RequestTimeout <= time.Minute},
		{"--shutdown-timeout", "more than 0 and at most 1h", c.ShutdownTimeout > 0 && c.ShutdownTimeout <= time.Hour},
		{"--batch-size", "1 to 10000", c.BatchSize >= 1 && c.BatchSize <= 10_000},
		{"--batch-wait", "0 to 1s", c.BatchWait >= 0 && c.BatchWait <= time.Second},
		{"--sold-out-for", "0 to 1m", c.SoldOutFor >= 0 && c.SoldOutFor <= time.Minute},
		{"--user-latency", "0 to 1m", c.UserLatency >= 0 && c.UserLatency <= time.Minute},
	}
	for _, b := range bounds {
		if !b.ok {
			return badConfig("%s is out of range; use %s", b.name, b.use)
		}
	}
	if c.Check {
		return nil
	}
	names := guard.Names()
	switch {
	case !slices.Contains(names, c.Guard):
		return badConfig("there is no guard %q; choose one of %s", c.Guard, strings.Join(names[:len(names)-1], ", "))
	case c.Guard == guard.NoOp && os.Getenv("GUARD") != guard.NoOp:
		return badConfig("guard noop sells nothing and is for measuring alone; it can only be set by GUARD=noop in the environment")
	case c.DatabaseURL == "":
		return badConfig("DATABASE_URL is not set; set it, or let `make run/%s` start a database for you", c.stage)
	case c.Guard == guard.Redlock && c.RedisURL == "":
		return badConfig("guard redlock needs Redis and REDIS_URL is not set; set it, or let `make run/%s` start one for you", c.stage)
	}
	return nil
}

// Store returns the database's part of the configuration, for a process that
// may hold so many connections.
func (c *Config) Store(conns int) store.Config {
	return store.Config{URL: c.DatabaseURL, AppName: c.stage, MaxConns: conns, RequestTimeout: c.RequestTimeout}
}

// Logger returns the process's logger. It writes to w.
func (c *Config) Logger(w io.Writer) *slog.Logger {
	opt := &slog.HandlerOptions{Level: c.LogLevel}
	var h slog.Handler = slog.NewTextHandler(w, opt)
	if c.LogFormat == "json" {
		h = slog.NewJSONHandler(w, opt)
	}
	return slog.New(h).With("stage", c.stage, "pid", os.Getpid())
}

// ExitCode prints err, if any, as one line, unless somebody else has, and
// returns the process's exit code: 0 without an error, 2 for a configuration error, 1 for any other.
func ExitCode(w io.Writer, stage string, err error) int {
	if err == nil {
		return 0
	}
	var cfg *ConfigError
	isConfig := errors.As(err, &cfg)
	if !isConfig || !cfg.Said {
		_, _ = fmt.Fprintf(w, "%s: %s\n", stage, strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", " "))
	}
	if isConfig {
		return 2
	}
	return 1
}
