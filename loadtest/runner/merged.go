package runner

import (
	"context"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

// Merged describes what several generators did together. first is the report of one of them, of which stage and settings
// are taken; users are those of all. With a database the product is audited as after a Run, and it blocks as long;
// without one (nil) it is not. Resources are those that nobody could measure from outside: unknown.
func Merged(ctx context.Context, first report.Run, users int, result *attack.Result, db *database.DB, product database.Product) (report.Run, error) {
	cfg := Config{Workload: attack.Workload(first.Workload)}
	run := describe(cfg, result)
	run.Target, run.Stage, run.Guard, run.Expected, run.Settings = first.Target, first.Stage, first.Guard, first.Expected, first.Settings
	run.Settings.Users = users
	if result.Open != nil {
		run.Settings.RatePerSecond = new(result.Open.Plan.Rate)
		if peak := result.Open.Plan.Peak; peak > 0 {
			run.Settings.PeakPerSecond = new(peak)
		}
	}
	addSeries(&run, result, samples{})
	if db == nil {
		return run, nil
	}
	run.Settings.Stock = new(product.Initial)
	checked, err := auditProducts(ctx, db, string(first.Stage), []database.Product{product}, result)
	if err != nil {
		return report.Run{}, err
	}
	run.Audit = &checked
	return run, nil
}

// NewProduct makes a product as Run does, for generators on several machines.
func NewProduct(ctx context.Context, db *database.DB, stock int64) (database.Product, error) {
	return db.NewProduct(ctx, "flash sale on several machines", stock, priceCents)
}
