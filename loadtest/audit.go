package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

// auditCmd checks products.
type auditCmd struct {
	Product     []int64 `required:"" placeholder:"ID" help:"The product to check; may be repeated."`
	Initial     *int64  `placeholder:"N" help:"Units of each that there were at the start. Without it, what was oversold cannot be known."`
	FirstOrder  int64   `placeholder:"ID" help:"An order id below which no order of the products is: spares reading the whole table."`
	DatabaseURL string  `placeholder:"URL" help:"The database. Otherwise: DATABASE_URL, then that of a running 'loadtest serve'."`
	JSON        bool    `name:"json" help:"Print JSON: an object for one product, an array for several."`
}

// Help is the long help text.
func (*auditCmd) Help() string {
	return `Counts the orders of each product and compares them with its stock. It does not know what the clients were told, so lost
and phantom orders cannot be found. Exit code 3 when the database is not consistent.`
}

// stockCheck is what the command prints.
type stockCheck struct {
	Product         int64         `json:"product"`
	Initial         *int64        `json:"initial"` // nil when it was not given
	Sold            int64         `json:"sold"`
	Left            int64         `json:"left"`
	Oversold        *int64        `json:"oversold"`
	StockDrift      *int64        `json:"stock_drift"`
	DuplicateOrders int64         `json:"duplicate_orders"`
	Verdict         audit.Verdict `json:"verdict"`
}

// Run reads the product and prints what it found.
func (c *auditCmd) Run(a *app) error {
	for i, id := range c.Product {
		switch {
		case id < 1:
			return usagef("--product %d: product ids start at 1", id)
		case slices.Contains(c.Product[:i], id):
			return usagef("--product %d: named twice", id)
		}
	}
	switch {
	case c.Initial != nil && *c.Initial < 0:
		return usagef("--initial %d: it cannot be negative", *c.Initial)
	case c.FirstOrder < 0:
		return usagef("--first-order %d: it cannot be negative", c.FirstOrder)
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
	var products []database.Product
	for _, id := range c.Product {
		products = append(products, database.Product{ID: id, First: max(c.FirstOrder-1, 0)})
	}
	snapshots, err := db.SnapshotAll(a.ctx, products)
	if err != nil {
		return interruptedOr(a.ctx, err)
	}
	var checks []stockCheck
	for _, snapshot := range snapshots {
		checks = append(checks, c.check(snapshot))
	}
	if err := c.print(a, checks); err != nil {
		return err
	}
	if slices.ContainsFunc(checks, func(check stockCheck) bool { return check.Verdict != audit.OK }) {
		return &exitError{code: report.ExitUnexpected}
	}
	return nil
}

// print writes what was found about each product.
func (c *auditCmd) print(a *app, checks []stockCheck) error {
	if c.JSON {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		if len(checks) == 1 {
			return e.Encode(checks[0])
		}
		return e.Encode(checks)
	}
	var err error
	for _, check := range checks {
		err = errors.Join(err, check.print(a.stdout))
	}
	return err
}

// check audits a snapshot. Without an initial stock it takes for granted that sold and left add up.
func (c *auditCmd) check(snapshot audit.Snapshot) stockCheck {
	snapshot.Settled = true // one snapshot, taken when the user wanted it
	if c.Initial != nil {
		snapshot.Initial = *c.Initial
	} else {
		snapshot.Initial = snapshot.Left
		for _, order := range snapshot.Orders {
			if order.Status != audit.Cancelled {
				snapshot.Initial += order.Quantity
			}
		}
	}
	r := audit.CheckStock(snapshot)
	check := stockCheck{
		Product: snapshot.ProductID, Initial: c.Initial, Sold: r.Sold, Left: r.Left, DuplicateOrders: r.DuplicateOrders, Verdict: r.Verdict,
	}
	if c.Initial != nil {
		check.Oversold, check.StockDrift = &r.Oversold, &r.StockDrift
	}
	return check
}

func (s stockCheck) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "product %d\nsold %d, left %d, duplicate orders %d\n", s.Product, s.Sold, s.Left, s.DuplicateOrders)
	if s.Initial == nil {
		_, more := fmt.Fprintln(w, "initial stock not given (--initial): what was oversold cannot be known")
		err = errors.Join(err, more)
	} else {
		_, more := fmt.Fprintf(w, "initial %d, oversold %d, sold + left - initial %+d\n", *s.Initial, *s.Oversold, *s.StockDrift)
		err = errors.Join(err, more)
	}
	_, more := fmt.Fprintf(w, "verdict: %s\n", s.Verdict)
	return errors.Join(err, more)
}
