package service

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"example.com/flashsale/shop/metrics"
	"example.com/flashsale/shop/prefork"
)

// Processes is the configuration that the stages with a master share.
type Processes struct {
	Processes        int           `env:"PROCESSES" default:"${processes}" help:"Worker processes at start; 0: one per CPU, as far as DB_CONNS goes."`
	MaxProcesses     int           `env:"MAX_PROCESSES" default:"0" help:"The most that SIGTTIN can ask for; 0: twice as many, as far as DB_CONNS goes."`
	MinProcesses     int           `env:"MIN_PROCESSES" default:"0" help:"Let the number follow the load, from this one to MAX_PROCESSES; 0: it stays."`
	Listen           prefork.Mode  `env:"LISTEN" default:"reuseport" enum:"reuseport,shared" help:"reuseport: a socket per worker. shared: one for all."`
	MaxRequests      uint64        `env:"MAX_REQUESTS" default:"0" help:"Orders after which a worker is replaced, up to a tenth more; 0: never."`
	HeartbeatTimeout time.Duration `env:"HEARTBEAT_TIMEOUT" default:"10s" help:"A worker without a sign of life for so long is replaced; 0: never."`
}

// minHeartbeat keeps a pause that any busy machine has from looking like the
// end of a worker.
const minHeartbeat = 500 * time.Millisecond

// stopSlack is what a worker may take to stop, beyond its HTTP and its queue.
const stopSlack = 3 * time.Second

// What the master tells the workers, and the master that follows it.
const (
	metricsEnv       = "FLASHSALE_METRICS"        // where the figures of all workers meet
	masterVersionEnv = "FLASHSALE_MASTER_VERSION" // the master's Version
	sellingEnv       = "FLASHSALE_SELLING"        // what all workers must have in common
)

// selling is what two workers must not differ in while both sell: they would
// not protect the stock from each other.
type selling struct{ Guard, DatabaseURL, RedisURL string }

func (c *Config) selling() selling { return selling{c.Guard, c.DatabaseURL, c.RedisURL} }

func (c *Config) sell(s selling) {
	c.Guard, c.DatabaseURL, c.RedisURL = s.Guard, s.DatabaseURL, s.RedisURL
}

// Budget is how many workers a master has, and what each of them may use.
type Budget struct {
	Workers    int // at start
	MaxWorkers int // the most that there should ever be
	Conns      int // database connections of one worker
}

// All returns the number of workers that can run at once: while one is being
// replaced, its replacement runs beside it.
func (b Budget) All() int { return b.MaxWorkers + 1 }

// Budget divides DB_CONNS among all workers that can run at once. useful is the
// number of connections that a worker makes good use of: the defaults are
// chosen so that each has as many. What does not hold within DB_CONNS is a
// *ConfigError.
func (p Processes) Budget(cfg *Config, useful int) (Budget, error) {
	fit := max(cfg.DBConns/useful-1, 1)
	b := Budget{Workers: p.Processes, MaxWorkers: p.MaxProcesses}
	if b.Workers == 0 {
		b.Workers = min(runtime.NumCPU(), fit)
		if b.MaxWorkers > 0 {
			b.Workers = min(b.Workers, b.MaxWorkers)
		}
	}
	if b.MaxWorkers == 0 {
		b.MaxWorkers = max(b.Workers, min(2*b.Workers, fit))
	}
	switch {
	case b.Workers < 1 || b.Workers > prefork.MaxWorkers:
		return b, badConfig("--processes %d is out of range; use 1 to %d", b.Workers, prefork.MaxWorkers)
	case b.MaxWorkers < b.Workers || b.MaxWorkers > prefork.MaxWorkers:
		return b, badConfig("--max-processes %d is out of range; use %d (--processes) to %d", b.MaxWorkers, b.Workers, prefork.MaxWorkers)
	case p.MinProcesses < 0 || p.MinProcesses > b.Workers:
		return b, badConfig("--min-processes %d is out of range; use 0 to %d (--processes)", p.MinProcesses, b.Workers)
	case p.HeartbeatTimeout != 0 && p.HeartbeatTimeout < minHeartbeat:
		return b, badConfig("--heartbeat-timeout %v is too short; use %v or more, or 0 for none", p.HeartbeatTimeout, minHeartbeat)
	case b.All() > cfg.DBConns:
		return b, b.tooMany(cfg.DBConns)
	}
	b.Conns = cfg.DBConns / b.All()
	return b, nil
}

// Follow is for a master, before it touches the database. One that follows
// another (SIGUSR2) has workers of that one, and a program whose defaults are
// others would sell beside them with another guard or database. In the rehearsal
// that is a *ConfigError. Later it is too late for one: the workers' settings
// stay, and the log says so.
func (c *Config) Follow(log *slog.Logger) error {
	if !prefork.Rehearses() && !prefork.Inherits() {
		return nil
	}
	same, err := c.sellingOfMaster()
	switch {
	case err != nil:
		return err
	case same == c.selling():
		return nil
	case prefork.Rehearses():
		return badConfig("the running workers sell with guard %s, and this program would with guard %s or another database or Redis; "+
			"both together could oversell, so restart to change that", same.Guard, c.Guard)
	}
	log.Error("guard, database-url and redis-url stay as the workers have them; restart to change that", "guard", same.Guard, "configured", c.Guard)
	c.sell(same)
	return nil
}

// sellingOfMaster returns what the master says that all have in common, or what
// the configuration says where no master says it.
func (c *Config) sellingOfMaster() (selling, error) {
	text, ok := os.LookupEnv(sellingEnv)
	if !ok {
		return c.selling(), nil
	}
	var same selling
	if err := json.Unmarshal([]byte(text), &same); err != nil {
		return same, badConfig("read %s: %w", sellingEnv, err)
	}
	return same, nil
}

// Share returns the budget as a worker sees it: its master says how many
// workers there can be, and which guard and database they have, whatever the
// configuration says by now. A share that is too small is a *ConfigError.
func (c *Config) Share(w *prefork.Worker) (Budget, error) {
	same, err := c.sellingOfMaster()
	if err != nil {
		return Budget{}, err
	}
	c.sell(same)
	b := Budget{Workers: w.Workers(), MaxWorkers: w.MaxWorkers}
	if b.All() > c.DBConns {
		return b, b.tooMany(c.DBConns)
	}
	b.Conns = c.DBConns / b.All()
	return b, nil
}

func (b Budget) tooMany(conns int) error {
	return badConfig("%d worker processes, and one more while one is replaced, need %d database connections and DB_CONNS allows %d; "+
		"use fewer processes or raise DB_CONNS", b.MaxWorkers, b.All(), conns)
}

// MasterConfig is the configuration of a stage with a master.
type MasterConfig interface {
	common() *Config
	processes() *Processes
}

func (p *Processes) processes() *Processes { return p }

// Master returns the configuration of the master of cfg's workers. again reads
// the configuration anew, before the workers are replaced. The caller calls
// cleanUp when the master has ended.
func Master(cfg MasterConfig, again func() (MasterConfig, error), b Budget, log *slog.Logger, stderr io.Writer) (master prefork.Config, cleanUp func()) {
	c, p := cfg.common(), cfg.processes()
	folder, cleanUp := metricsFolder(log)
	heartbeat := p.HeartbeatTimeout
	if heartbeat == 0 {
		heartbeat = -1
	}
	return prefork.Config{
		Addr: c.Addr, Workers: b.Workers, MaxWorkers: b.MaxWorkers, Mode: p.Listen,
		MaxRequests: p.MaxRequests, MaxRequestsJitter: p.MaxRequests / 10,
		StopTimeout:      c.ShutdownTimeout + stopSlack,
		HeartbeatTimeout: heartbeat,
		Scaling:          prefork.Scaling{Min: p.MinProcesses},
		Command: func() (prefork.Command, error) {
			fresh, err := again()
			if err != nil {
				return prefork.Command{}, err
			}
			if fresh.common().selling() != c.selling() {
				return prefork.Command{}, badConfig("guard, database-url or redis-url has changed, and workers that differ in that could oversell; restart to change it")
			}
			same, err := json.Marshal(c.selling())
			if err != nil {
				return prefork.Command{}, err
			}
			if names := changedForMaster(cfg, fresh); len(names) > 0 {
				log.Warn("the master heeds these settings after SIGUSR2 (addr and listen: after a restart), and not before", "changed", strings.Join(names, ", "))
			}
			return prefork.Command{Env: append(os.Environ(),
				metricsEnv+"="+string(folder), masterVersionEnv+"="+Version(), sellingEnv+"="+string(same))}, nil
		},
		OnChange: func(r prefork.Roster) { folder.Retire(pids(r)) },
		Log:      log, Stderr: stderr,
	}, cleanUp
}

// metricsFolder makes the folder where the workers' figures meet, or takes over
// that of the master before.
func metricsFolder(log *slog.Logger) (folder metrics.Folder, cleanUp func()) {
	inherited := metrics.Folder(os.Getenv(metricsEnv))
	switch {
	case prefork.Rehearses():
		return inherited, func() {}
	case prefork.Inherits():
		return inherited, inherited.Remove
	}
	folder, err := metrics.NewFolder()
	if err != nil {
		log.Warn("each worker will show its own metrics alone", "error", err)
	}
	return folder, folder.Remove
}

// changedForMaster names the settings that workers do not heed, or not alone,
// and that differ.
func changedForMaster(old, fresh MasterConfig) []string {
	a, b, p, q := old.common(), fresh.common(), old.processes(), fresh.processes()
	var names []string
	for name, same := range map[string]bool{
		"addr": a.Addr == b.Addr, "shutdown-timeout": a.ShutdownTimeout == b.ShutdownTimeout, "listen": p.Listen == q.Listen,
		"log-level": a.LogLevel == b.LogLevel, "log-format": a.LogFormat == b.LogFormat,
		"processes": p.Processes == q.Processes, "max-processes": p.MaxProcesses == q.MaxProcesses, "min-processes": p.MinProcesses == q.MinProcesses,
		"max-requests": p.MaxRequests == q.MaxRequests, "heartbeat-timeout": p.HeartbeatTimeout == q.HeartbeatTimeout,
	} {
		if !same {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func pids(r prefork.Roster) []int {
	all := make([]int, len(r.Workers))
	for i, w := range r.Workers {
		all[i] = w.PID
	}
	return all
}

// Topology returns what Serve is to know of a worker. executors is the number
// of orders that the worker works on at once.
func (b Budget) Topology(w *prefork.Worker, executors int) Topology {
	return Topology{
		MasterPID: w.MasterPID, Processes: b.All(), Workers: executors, DBConns: b.Conns * b.All(),
		Slot: w.Slot, Wanted: w.Workers, Roster: w.Roster, Served: w.Count, BeatIf: w.BeatIf, MeasureBusy: w.MeasureBusy, GiveAway: w.GiveAway,
		MasterLife: w.MasterLife(), masterVersion: os.Getenv(masterVersionEnv),
		folder: metrics.Folder(os.Getenv(metricsEnv)),
	}
}

// MasterError turns what the master ended with into what main reports: a port
// that is taken is a *ConfigError, and so is what no worker can start with. That
// the worker has said, and its words are on standard error.
func (c *Config) MasterError(err error) error {
	if cannotListen := new(net.OpError); errors.As(err, &cannotListen) {
		return badConfig("cannot listen on %s: %w; choose another --addr", c.Addr, err)
	}
	var exit *prefork.ExitError
	if errors.As(err, &exit) && exit.Code == prefork.BadConfigCode {
		return &ConfigError{Err: err, Said: exit.Words != ""}
	}
	return err
}
