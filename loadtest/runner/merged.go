package runner

import (
	"cmp"
	"context"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

// Merged describes what several generators did together. members are their reports; stage and settings are taken of the
// first, users and resources of all: each of them may have measured the whole stage, so the largest figure counts, not the
// sum. With a database the product is audited as after a Run, and it blocks as long; without one (nil) it is not.
func Merged(ctx context.Context, members []report.Run, result *attack.Result, db *database.DB, product database.Product) (report.Run, error) {
	first := members[0]
	cfg := Config{Workload: attack.Workload(first.Workload)}
	run := describe(cfg, result)
	run.Target, run.Stage, run.Guard, run.Expected, run.Settings = first.Target, first.Stage, first.Guard, first.Expected, first.Settings
	run.Settings.Users = 0
	for _, member := range members {
		run.Settings.Users += member.Settings.Users
	}
	run.Resources = perOrder(largest(members), result)
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

// largest returns of each resource the highest figure that a member has. What costs an order is another matter.
func largest(members []report.Run) report.Resources {
	var r report.Resources
	for i := range members {
		of := &members[i].Resources
		r.ProcessesMax = higher(r.ProcessesMax, of.ProcessesMax)
		r.OSThreadsMax = higher(r.OSThreadsMax, of.OSThreadsMax)
		r.GoroutinesMax = higher(r.GoroutinesMax, of.GoroutinesMax)
		r.PSSBytesMax = higher(r.PSSBytesMax, of.PSSBytesMax)
		r.CPUSeconds = higher(r.CPUSeconds, of.CPUSeconds)
		r.ContextSwitchesVoluntary = higher(r.ContextSwitchesVoluntary, of.ContextSwitchesVoluntary)
		r.ContextSwitchesInvoluntary = higher(r.ContextSwitchesInvoluntary, of.ContextSwitchesInvoluntary)
		r.DBConnectionsMax = higher(r.DBConnectionsMax, of.DBConnectionsMax)
	}
	return r
}

// higher returns the higher of two figures, of which either may be unknown.
func higher[T cmp.Ordered](a, b *T) *T {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

// NewProduct makes a product as Run does, for generators on several machines.
func NewProduct(ctx context.Context, db *database.DB, stock int64) (database.Product, error) {
	return db.NewProduct(ctx, "flash sale on several machines", stock, priceCents)
}
