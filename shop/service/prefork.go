package service

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"example.com/flashsale/shop/prefork"
)

// Processes is the configuration that the stages with a master share.
type Processes struct {
	Processes   int          `env:"PROCESSES" default:"${processes}" help:"Worker processes."`
	Listen      prefork.Mode `env:"LISTEN" default:"reuseport" enum:"reuseport,shared" help:"reuseport: a socket per worker. shared: one for all."`
	MaxRequests uint64       `env:"MAX_REQUESTS" default:"0" help:"Orders after which a worker is replaced, up to a tenth more; 0: never."`
}

// stopSlack is what a worker may take to stop, beyond its HTTP and its queue.
const stopSlack = 3 * time.Second

// Master returns the configuration of the master of cfg's workers.
func (p Processes) Master(cfg *Config, log *slog.Logger, stderr io.Writer) prefork.Config {
	return prefork.Config{
		Addr: cfg.Addr, Workers: p.Processes, Mode: p.Listen,
		MaxRequests: p.MaxRequests, MaxRequestsJitter: p.MaxRequests / 10,
		StopTimeout: cfg.ShutdownTimeout + stopSlack,
		Log:         log, Stderr: stderr,
	}
}

// MasterError turns what the master ended with into what main reports: a port
// that is taken is a *ConfigError.
func (c *Config) MasterError(err error) error {
	if cannotListen := new(net.OpError); errors.As(err, &cannotListen) {
		return badConfig("cannot listen on %s: %w; choose another --addr", c.Addr, err)
	}
	var exit *prefork.ExitError
	if errors.As(err, &exit) && exit.Code == prefork.BadConfigCode {
		return badConfig("no worker can start with this configuration; what worker %d said is above", exit.Slot)
	}
	return err
}
