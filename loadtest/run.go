package main

import (
	"errors"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/runner"
)

const (
	// flashSaleStock is few enough to be sold in a moment.
	flashSaleStock = 100
	// sustainedStock never sells out.
	sustainedStock = 1_000_000_000
)

const noopNote = "Guard noop makes its receipts up: it measures HTTP alone, and there is nothing to audit."

// runCmd drives one target.
type runCmd struct {
	Target       string        `default:"http://127.0.0.1:8080" placeholder:"URL" help:"Base URL of the service (${default})."`
	Workload     string        `enum:"flash-sale,sustained" default:"flash-sale" help:"flash-sale: everybody at once for a few units; sustained: orders without pause."`
	Users        int           `default:"64" help:"Users; each waits for the answer to its order before it sends the next."`
	Stock        *int64        `placeholder:"N" help:"Units of each product (100 in a flash sale, a billion in a sustained run)."`
	Products     int           `default:"1" help:"Products that are ordered."`
	Skew         float64       `default:"0" help:"How uneven the products are asked for: exponent of Zipf's law, 0 is evenly."`
	Duration     time.Duration `default:"5s" help:"How long to measure; a flash sale ends earlier when it is sold out."`
	Warmup       time.Duration `default:"1s" help:"Before the measurement, sustained only."`
	Patience     time.Duration `name:"client-timeout" default:"5s" help:"How long a user waits for one answer; more than the service works on one."`
	DatabaseURL  string        `placeholder:"URL" help:"Database of the target. Otherwise: DATABASE_URL, then that of a running 'loadtest serve'."`
	NoAudit      bool          `help:"Do not touch the database: only measure. Needs --product."`
	Product      []int64       `placeholder:"ID" help:"With --no-audit: products to order, which the target has; its users must be 1 to --users."`
	Seed         *uint64       `placeholder:"N" help:"Of every random choice (random)."`
	ExpectBroken bool          `help:"Fail when a broken guard passes."`
	Out          string        `placeholder:"DIR" help:"Folder for the report (results/<time>)."`

	rateFlags
	togetherFlags
	reportFlags
	liveFlags
}

// Help is the long help text.
func (*runCmd) Help() string {
	return `A fresh product is made in the database for each run, so runs never disturb one another. After the run every answer
is compared with the orders in the database. A service that is no stage of this project can be driven too, if it
has the same API and tables; it is expected to be safe.` + rateHelp
}

// Run does one run and reports it.
func (c *runCmd) Run(a *app) error {
	if err := c.validate(); err != nil {
		return err
	}
	target, err := runner.Inspect(a.ctx, c.Target)
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	result := newResult(a, c.Seed)
	result.ExpectBroken = c.ExpectBroken
	cfg, err := c.config(target, result.Seed)
	if err != nil {
		return err
	}
	cfg.Meter = runner.LocalMeter(a.ctx, target)
	if db, source, err := c.openDatabase(a, target); err != nil {
		return err
	} else if db != nil {
		defer db.Close()
		cfg.DB = db
		result.Backing.Postgres = describePostgres(a.ctx, db, source)
	} else if !target.Auditable() {
		result.Notes = append(result.Notes, noopNote)
	}
	out, err := openOutput(c.Out, result.StartedAt)
	if err != nil {
		return err
	}
	defer out.removeIfEmpty()
	c.setReport(result, &out)
	if c.together() {
		cfg.Keep = out.keep
		result.Notes = append(result.Notes, togetherNote)
	}
	line := newProgress(a, "run", &c.liveFlags)
	if err := line.open(); err != nil {
		return err
	}
	err = c.measure(a, line, cfg, result)
	line.close(outcome(result, err))
	if err != nil {
		return err
	}
	return out.finish(a, result)
}

func (c *runCmd) measure(a *app, line *progress, cfg runner.Config, result *report.Result) error {
	line.plan(cfg.Duration + cfg.Warmup)
	line.next(cfg.Target.URL + ", " + c.Workload)
	run, err := line.drive(a.ctx, cfg)
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	result.Runs = append(result.Runs, run)
	return nil
}

func (c *runCmd) validate() error {
	if err := checkLoad(c.Users, c.Stock, c.Duration, c.Warmup); err != nil {
		return err
	}
	if err := errors.Join(c.checkReport(), c.checkLive()); err != nil {
		return err
	}
	switch {
	case c.Patience <= 0:
		return usagef("--client-timeout %v: it must be positive, as in 5s", c.Patience)
	case c.Products < 1:
		return usagef("--products %d: at least 1 is needed", c.Products)
	case c.NoAudit && len(c.Product) == 0:
		return usagef("--no-audit makes no product: name one that the target has with --product ID")
	case !c.NoAudit && !c.together() && len(c.Product) > 0:
		return usagef("--product names what to order without a database: add --no-audit, or leave it out")
	case c.NoAudit && c.DatabaseURL != "":
		return usagef("--no-audit and --database-url exclude each other")
	}
	cfg, err := c.config(runner.Target{URL: c.Target}, 0)
	if err != nil {
		return err
	}
	if err := runner.Validate(cfg); err != nil {
		return usagef("%w", err)
	}
	return nil
}

func (c *runCmd) config(target runner.Target, seed uint64) (runner.Config, error) {
	cfg := runner.Config{
		Target: target, ProductIDs: c.Product, Workload: attack.Workload(c.Workload), Users: c.Users, Stock: flashSaleStock,
		Products: c.Products, Skew: c.Skew, Seed: seed, Duration: c.Duration, Warmup: c.Warmup,
		Patience: c.Patience,
	}
	if cfg.Workload == attack.Sustained {
		cfg.Stock = sustainedStock
	}
	if c.Stock != nil {
		cfg.Stock = *c.Stock
	}
	if len(cfg.ProductIDs) == 0 {
		cfg.ProductIDs = []int64{1}
	}
	if err := c.applyTogether(&cfg, c.Product, c.NoAudit); err != nil {
		return cfg, err
	}
	err := c.apply(&cfg)
	return cfg, err
}

// openDatabase connects, unless there is nothing to audit.
func (c *runCmd) openDatabase(a *app, target runner.Target) (*database.DB, string, error) {
	if c.NoAudit || c.together() || !target.Auditable() {
		return nil, "", nil
	}
	url, source, err := findDatabase(a, c.DatabaseURL)
	if err != nil {
		return nil, "", err
	}
	db, err := connect(a.ctx, url)
	return db, source, err
}

// checkLoad refuses what no run can do.
func checkLoad(users int, stock *int64, duration, warmup time.Duration) error {
	switch {
	case users < 1:
		return usagef("--users %d: at least 1 is needed", users)
	case stock != nil && *stock < 0:
		return usagef("--stock %d: it cannot be negative", *stock)
	case duration <= 0:
		return usagef("--duration %v: it must be positive, as in 5s", duration)
	case warmup < 0:
		return usagef("--warmup %v: it cannot be negative", warmup)
	}
	return checkFileLimit(users)
}
