// Package runner does one run: it makes a product, drives a target, waits until the database rests, audits, and puts
// what it found into a report.Run.
//
//	product ──► meters on ──► attack ──► meters off ──► settle ──► audit ──► report.Run
//
// The target runs already; who started it is none of this package's business.
package runner

import (
	"context"
	"fmt"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/schedule"
)

// priceCents is the price of the products that a run makes.
const priceCents = 1999

// Config says what to run. Target, Workload, Users and Duration are required, and either DB or ProductIDs.
type Config struct {
	Target     Target
	DB         *database.DB // of the target; nil: no product is made and nothing is audited
	ProductIDs []int64      // what to order when there is no DB
	Workload   attack.Workload
	Users      int
	FirstUser  int64 // number of the first of them; 0 means 1
	Stock      int64 // units of each product that the run makes
	Products   int   // how many it makes; 0 means 1
	Skew       float64
	Seed       uint64
	Duration   time.Duration      // of the measured part
	Schedule   *schedule.Schedule // of that duration and warm-up: the open model, sustained only; nil: a closed loop
	Tolerance  time.Duration      // how late the generator may send; 0: attack.DefaultLagTolerance
	Warmup     time.Duration      // before it; sustained only
	Meter      Meter              // of the stage's processes; nil: what the target's /metrics tell
	Progress   func(attack.Progress)
	Sales      func(database.Stock)       // hears of the stock each second, from another goroutine; needs a DB; nil: nobody asks
	Patience   time.Duration              // how long users wait for one answer; 0: attack.DefaultClientTimeout
	StartAt    time.Time                  // when the users start, together with those of other machines; zero: when all are connected
	Keep       func(*attack.Result) error // gets the outcomes before they are audited; nil: nobody wants them
}

// Run does one run and blocks until it is audited: for the warm-up and the duration, and then for as long as the last
// answers and the database need, some fifteen seconds at most. An error means that there is no result: the target or
// the database failed, or ctx ended. Runs may go on concurrently, but not against one target.
func Run(ctx context.Context, cfg Config) (report.Run, error) {
	products, err := makeProducts(ctx, &cfg)
	if err != nil {
		return report.Run{}, err
	}
	if err := cfg.Target.checkFiles(ctx, cfg.Users); err != nil {
		return report.Run{}, err
	}
	sales := watchSales(ctx, &cfg, products)
	defer sales.stop()
	meters := startMeters(ctx, cfg)
	sampler := startSampler(ctx, cfg, meters)
	result, err := drive(ctx, attackConfig(cfg))
	sales.ask()
	seen, resources := sampler.stop(), meters.stop(ctx)
	if err != nil {
		return report.Run{}, fmt.Errorf("drive %s: %w", cfg.Target.URL, err)
	}
	if cfg.Keep != nil {
		if err := cfg.Keep(result); err != nil {
			return report.Run{}, err
		}
	}
	run := describe(cfg, result)
	run.Resources = perOrder(resources, result)
	addSeries(&run, result, seen)
	if cfg.DB == nil {
		return run, nil
	}
	checked, err := settleAndAudit(ctx, cfg, products, result)
	if err != nil {
		return report.Run{}, err
	}
	run.Audit = &checked
	return run, nil
}

// makeProducts prepares buyers and goods, and sets cfg.ProductIDs.
func makeProducts(ctx context.Context, cfg *Config) ([]database.Product, error) {
	if cfg.DB == nil {
		return nil, nil
	}
	if err := cfg.DB.EnsureUsers(ctx, int64(cfg.Users)); err != nil {
		return nil, err
	}
	var products []database.Product
	cfg.ProductIDs = nil
	for i := range max(cfg.Products, 1) {
		name := fmt.Sprintf("%s %s %d", cfg.Workload, time.Now().UTC().Format(time.RFC3339), i+1)
		product, err := cfg.DB.NewProduct(ctx, name, cfg.Stock, priceCents)
		if err != nil {
			return nil, err
		}
		products = append(products, product)
		cfg.ProductIDs = append(cfg.ProductIDs, product.ID)
	}
	return products, cfg.Target.checkProduct(ctx, cfg.ProductIDs[0])
}

func attackConfig(cfg Config) attack.Config {
	return attack.Config{
		Target: cfg.Target.URL, Workload: cfg.Workload, Users: cfg.Users, ProductIDs: cfg.ProductIDs,
		Skew: cfg.Skew, Seed: cfg.Seed, Duration: cfg.warmup() + cfg.Duration, Warmup: cfg.warmup(),
		Schedule: cfg.Schedule, LagTolerance: cfg.Tolerance, FirstUserID: cfg.FirstUser, StartAt: cfg.StartAt,
		ClientTimeout: cfg.Patience,
		Progress:      cfg.Progress, ProgressEvery: 250 * time.Millisecond,
	}
}

// warmup is 0 in a flash sale: all connections are open before it starts, and it is measured as a whole.
func (cfg Config) warmup() time.Duration {
	if cfg.Workload == attack.FlashSale {
		return 0
	}
	return cfg.Warmup
}

// Validate returns an error that says in one sentence what is wrong with the load of a configuration, or nil. It asks
// neither target nor database.
func Validate(cfg Config) error { return attackConfig(cfg).Validate() }
