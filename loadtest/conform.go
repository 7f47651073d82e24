package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/flashsale/harness/contract"
	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/runner"
)

const (
	// auditedSale is the rule that takes a database and is no matter of HTTP alone.
	auditedSale        = "audited-sale"
	auditedSalePromise = "a flash sale over the wire agrees with the database: nothing oversold, lost or doubled"
	conformBuyers      = contract.Racers
	conformStock       = 50
	conformPriceCents  = 1999
	saleLimit          = 20 * time.Second
)

// conformCmd checks a service against the contract.
type conformCmd struct {
	Target         string   `default:"http://127.0.0.1:8080" placeholder:"URL" help:"Base URL of the service (${default})."`
	Product        int64    `default:"1" placeholder:"ID" help:"Product to order (${default}): up to ${units} units of it are bought. With --database-url products are made instead."`
	User           []int64  `placeholder:"ID" help:"Users to order as, who exist (1; with --database-url 1 to ${buyers}, who are made)."`
	SoldOutProduct int64    `placeholder:"ID" help:"A product that is sold out."`
	SellOutProduct int64    `placeholder:"ID" help:"A product that may be sold out: all or nearly all of it is bought at once, by ${buyers} buyers."`
	DatabaseURL    string   `placeholder:"URL" help:"Database of the service, with the tables of a stage. Then all rules are checked, and what was sold is audited."`
	Audit          bool     `help:"Like --database-url with DATABASE_URL, or else with the database of a running 'loadtest serve'."`
	Skip           []string `placeholder:"RULE" help:"Rules to leave out."`
	Rules          bool     `help:"List the rules and check nothing."`
	Seed           *uint64  `placeholder:"N" help:"Of every random choice of the audited sale (random)."`
	Out            string   `placeholder:"DIR" help:"Folder for the report; without it nothing is written."`

	outputFlags
}

// Help is the long help text.
func (*conformCmd) Help() string {
	return `Asks the service about each rule of openapi.yaml and says pass, fail or skipped, with what was expected and what was got.
The service may be written in anything. It needs one product and one user; nobody else should order that product
meanwhile. Rules that cannot be checked are skipped with the reason:

  loadtest conform --target URL                                 HTTP alone
  loadtest conform --target URL --sell-out-product 2            and a small sale, of a product that you can spare
  loadtest conform --target URL --database-url URL              everything: products and users are made, and orders counted
  loadtest conform --audit                                      the same for a stage that 'loadtest serve' runs

Products and orders that a check has made stay. Exit code 4 when a rule is broken; 3 when the audited
sale oversold, lost or doubled orders, though its guard should be safe or theory says nothing of it.`
}

// Run checks and reports.
func (c *conformCmd) Run(a *app) error {
	if c.Rules {
		return listRules(a)
	}
	skip, err := c.validate()
	if err != nil {
		return err
	}
	target, err := runner.Inspect(a.ctx, c.Target)
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	result := newResult(a, c.Seed)
	var db *database.DB
	if c.DatabaseURL != "" || c.Audit {
		url, source, err := findDatabase(a, c.DatabaseURL)
		if err != nil {
			return err
		}
		if db, err = connect(a.ctx, url); err != nil {
			return err
		}
		defer db.Close()
		result.Backing.Postgres = describePostgres(a.ctx, db, source)
	}
	out := output{}
	if c.Out != "" {
		if out, err = openOutput(c.Out, result.StartedAt); err != nil {
			return err
		}
		defer out.removeIfEmpty()
		out.forms = c.Outputs
	}
	if err := c.check(a, db, skip, result); err != nil {
		return err
	}
	if err := c.sell(a, target, db, skip, result); err != nil {
		return err
	}
	return out.finish(a, result)
}

func (c *conformCmd) validate() (skip map[string]string, err error) {
	switch {
	case c.Product < 1 || c.SoldOutProduct < 0 || c.SellOutProduct < 0:
		return nil, usagef("product ids start at 1")
	case slices.ContainsFunc(c.User, func(id int64) bool { return id < 1 }):
		return nil, usagef("--user: user ids start at 1")
	case c.SellOutProduct == c.Product:
		return nil, usagef("--sell-out-product %d: it must be another than --product, which is needed afterwards", c.SellOutProduct)
	}
	skip = map[string]string{}
	for _, rule := range c.Skip {
		known := slices.ContainsFunc(contract.Rules, func(r contract.Rule) bool { return r.Name == rule })
		if !known && rule != auditedSale {
			return nil, usagef("--skip %q: there is no such rule; --rules lists them", rule)
		}
		skip[rule] = "left out with --skip"
	}
	return skip, c.checkOutputs()
}

// check asks about the rules of HTTP.
func (c *conformCmd) check(a *app, db *database.DB, skip map[string]string, result *report.Result) error {
	line := newProgress(a, "conform", &liveFlags{Plain: true})
	if err := line.open(); err != nil {
		return err
	}
	defer line.close("")
	ofHTTP := maps.Clone(skip)
	delete(ofHTTP, auditedSale)
	cfg := contract.Config{
		URL: c.Target, Users: c.User, Product: c.Product, SoldOut: c.SoldOutProduct, SellOut: c.SellOutProduct, Skip: ofHTTP,
		Progress: func(rule contract.Rule) { line.say(rule.Name) },
	}
	if db != nil {
		if err := db.EnsureUsers(a.ctx, conformBuyers); err != nil {
			return interruptedOr(a.ctx, err)
		}
		cfg.Stock = stockroom{db: db, made: map[int64]database.Product{}}
	}
	for id := int64(1); len(c.User) == 0 && len(cfg.Users) < conformBuyers && (db != nil || id == 1); id++ {
		cfg.Users = append(cfg.Users, id)
	}
	found, err := contract.Check(a.ctx, cfg, contract.Rules)
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	for _, r := range found.Results {
		result.Rules = append(result.Rules, report.Rule{
			Name: r.Rule.Name, Promise: r.Rule.Promise, Outcome: r.Outcome, Reason: report.Text(r.Reason), Findings: r.Findings,
		})
	}
	if db == nil {
		result.Notes = append(result.Notes, fmt.Sprintf("%d units of product %d were bought.", found.Units, c.Product))
	}
	return nil
}

// sell runs a flash sale and audits it.
func (c *conformCmd) sell(a *app, target runner.Target, db *database.DB, skip map[string]string, result *report.Result) error {
	rule := report.Rule{Name: auditedSale, Promise: auditedSalePromise, Outcome: contract.Skipped, Reason: report.Text(skip[auditedSale])}
	defer func() { result.Rules = append(result.Rules, rule) }()
	switch {
	case rule.Reason != "":
		return nil
	case db == nil:
		rule.Reason = "needs the database: --database-url"
		return nil
	case !target.Auditable():
		rule.Reason = noopNote
		return nil
	}
	run, err := runner.Run(a.ctx, runner.Config{
		Target: target, DB: db, Workload: attack.FlashSale, Users: conformBuyers, Stock: conformStock, Seed: result.Seed, Duration: saleLimit,
		Meter: runner.LocalMeter(a.ctx, target),
	})
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	result.Runs = append(result.Runs, run)
	if rule.Outcome = contract.Pass; run.Audit.Verdict != audit.OK {
		rule.Outcome = contract.Fail
		rule.Findings = []contract.Finding{{
			Request: fmt.Sprintf("a flash sale of %d units", conformStock), Want: "verdict ok",
			Got: fmt.Sprintf("verdict %s: %d sold, %d left, %d accepted", run.Audit.Verdict, run.Audit.Sold, run.Audit.Left, run.Accepted),
		}}
	}
	return nil
}

// stockroom makes and counts products in the database of the service. It is for one goroutine.
type stockroom struct {
	db   *database.DB
	made map[int64]database.Product
}

// Make makes a product.
func (s stockroom) Make(ctx context.Context, stock int64) (contract.Product, error) {
	const name = "conform"
	p, err := s.db.NewProduct(ctx, name, stock, conformPriceCents)
	if err != nil {
		return contract.Product{}, err
	}
	s.made[p.ID] = p
	return contract.Product{ID: p.ID, Name: name, PriceCents: p.PriceCents, Stock: stock}, nil
}

// Count counts the orders of a product that Make made, and what is left of it.
func (s stockroom) Count(ctx context.Context, product int64) (orders, left int64, err error) {
	snapshot, err := s.db.Snapshot(ctx, s.made[product])
	return int64(len(snapshot.Orders)), snapshot.Left, err
}

// listRules prints what there is to check.
func listRules(a *app) error {
	var err error
	for _, rule := range contract.Rules {
		_, more := fmt.Fprintf(a.stdout, "%-20s %s\n", rule.Name, rule.Promise)
		err = errors.Join(err, more)
	}
	_, more := fmt.Fprintf(a.stdout, "%-20s %s\n", auditedSale, auditedSalePromise)
	return errors.Join(err, more)
}
