package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/runner"
)

// outcomesFile is what loadtest merge reads beside result.json.
const outcomesFile = "outcomes.gob"

const togetherNote = "One of several generators: not audited by itself, since others ordered the same product. loadtest merge audits all of them together."

// togetherFlags make a run one of several on other machines.
type togetherFlags struct {
	StartAt   string `group:"Together with other machines" placeholder:"TIME" help:"Start at this time, as in 2026-11-25T12:00:00Z. Needs --product; the run is not audited, its outcomes are kept for 'loadtest merge'."`
	FirstUser int64  `group:"Together with other machines" default:"1" placeholder:"ID" help:"The users are this one and the next --users."`
}

func (f *togetherFlags) together() bool { return f.StartAt != "" }

// applyTogether puts the flags into a run's configuration.
func (f *togetherFlags) applyTogether(cfg *runner.Config, products []int64, noAudit bool) (err error) {
	cfg.FirstUser = f.FirstUser
	switch {
	case f.FirstUser < 1:
		return usagef("--first-user %d: numbers begin at 1", f.FirstUser)
	case f.FirstUser > 1 && !f.together() && !noAudit:
		return usagef("--first-user needs --start-at or --no-audit")
	case !f.together():
		return nil
	case len(products) == 0:
		return usagef("--start-at needs the --product that all machines order; loadtest product makes one")
	}
	if cfg.StartAt, err = time.Parse(time.RFC3339, f.StartAt); err != nil {
		return usagef("--start-at %q: write a time such as 2026-11-25T12:00:00Z", f.StartAt)
	}
	return nil
}

// keep writes the outcomes of a run into the output folder.
func (o output) keep(result *attack.Result) (err error) {
	file, err := os.Create(filepath.Join(o.dir, outcomesFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buffered := bufio.NewWriter(file)
	if err := result.Save(buffered); err != nil {
		return err
	}
	return buffered.Flush()
}

// productCmd makes a product.
type productCmd struct {
	Stock       int64  `default:"100" help:"Units of it."`
	Users       int64  `default:"10000" help:"Users that must exist: all those of all machines."`
	DatabaseURL string `placeholder:"URL" help:"Database of the stage. Otherwise: DATABASE_URL, then that of a running 'loadtest serve'."`
}

// Run makes the product and prints the flags that the other commands need.
func (c *productCmd) Run(a *app) error {
	if c.Stock < 0 || c.Users < 1 {
		return usagef("--stock must not be negative, and --users must be at least 1")
	}
	url, _, err := findDatabase(a, c.DatabaseURL)
	if err != nil {
		return err
	}
	db, err := connect(a.ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.EnsureUsers(a.ctx, c.Users); err != nil {
		return interruptedOr(a.ctx, err)
	}
	product, err := runner.NewProduct(a.ctx, db, c.Stock)
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	_, err = fmt.Fprintf(a.stdout, "loadtest run   --product %d --start-at TIME --first-user ID --target URL\nloadtest merge --product %d --stock %d --first-order %d DIR …\n",
		product.ID, product.ID, c.Stock, product.First+1)
	return err
}

// mergeCmd joins runs.
type mergeCmd struct {
	Runs        []string `arg:"" name:"dir" help:"Output folders of the runs."`
	Product     int64    `placeholder:"ID" help:"The product that they ordered. Without it nothing is audited."`
	Stock       int64    `placeholder:"N" help:"Units of it at the start."`
	FirstOrder  int64    `placeholder:"ID" help:"An order id below which no order of the product is: spares reading the whole table."`
	DatabaseURL string   `placeholder:"URL" help:"The database. Otherwise: DATABASE_URL, then that of a running 'loadtest serve'."`
	Out         string   `placeholder:"DIR" help:"Folder for the report (results/<time>)."`

	reportFlags
}

// Help is the long help text.
func (*mergeCmd) Help() string {
	return `Several machines drive one sale without a protocol between them:

  loadtest product --stock 1000 --users 40000         prints the flags for the others
  loadtest run --product 7 --start-at 2026-11-25T12:00:00Z --users 20000 --first-user 1     --out a    on one machine
  loadtest run --product 7 --start-at 2026-11-25T12:00:00Z --users 20000 --first-user 20001 --out b    on another
  loadtest merge --product 7 --stock 1000 a b         one report, one audit

Their clocks must agree as well as the report is to be read: times are counted from the first start.`
}

// Run merges and reports.
func (c *mergeCmd) Run(a *app) error {
	if c.Product < 0 || c.Stock < 0 || c.FirstOrder < 0 {
		return usagef("--product, --stock and --first-order cannot be negative")
	}
	if err := c.checkReport(); err != nil {
		return err
	}
	merged, first, members, err := c.load()
	if err != nil {
		return err
	}
	result := newResult(a, &first.Seed)
	result.Backing, result.Commit = first.Backing, first.Commit
	result.Notes = append(result.Notes, fmt.Sprintf("Merged from %d generators.", len(c.Runs)))
	var db *database.DB
	if c.Product > 0 {
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
	out, err := openOutput(c.Out, result.StartedAt)
	if err != nil {
		return err
	}
	defer out.removeIfEmpty()
	c.setReport(result, &out)
	product := database.Product{ID: c.Product, Initial: c.Stock, First: max(c.FirstOrder-1, 0)}
	run, err := runner.Merged(a.ctx, members, merged, db, product)
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	result.Notes = append(result.Notes, describeResources(run.Resources, members))
	result.Runs = append(result.Runs, run)
	return out.finish(a, result)
}

// describeResources says whose the resources are.
func describeResources(r report.Resources, members []report.Run) string {
	none := report.Resources{}
	if r == none {
		return "No generator could measure what the stage used: memory, threads and switches are not known."
	}
	n := 0
	for i := range members {
		if members[i].Resources != none {
			n++
		}
	}
	return fmt.Sprintf("What the stage used was measured by %d of %d generators; the largest figures are shown.", n, len(members))
}

// load reads all folders. first is the report of the first of them.
func (c *mergeCmd) load() (merged *attack.Result, first *report.Result, members []report.Run, err error) {
	var parts []*attack.Result
	for _, dir := range c.Runs {
		written, err := report.Read(filepath.Join(dir, "result.json"))
		if err != nil {
			return nil, nil, nil, usagef("%w", err)
		}
		if len(written.Runs) != 1 {
			return nil, nil, nil, usagef("%s holds %d runs, but that of a 'loadtest run --start-at' is one", dir, len(written.Runs))
		}
		part, err := loadOutcomes(filepath.Join(dir, outcomesFile))
		if err != nil {
			return nil, nil, nil, usagef("%s: %w; only 'loadtest run --start-at' keeps its outcomes", dir, err)
		}
		if first == nil {
			first = written
		}
		members = append(members, written.Runs[0])
		parts = append(parts, part)
	}
	merged, err = attack.Merge(parts...)
	if err != nil {
		return nil, nil, nil, usagef("%w", err)
	}
	return merged, first, members, nil
}

func loadOutcomes(path string) (*attack.Result, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return attack.Load(bufio.NewReader(file))
}
