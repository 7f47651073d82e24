// Package contract checks a service against the HTTP contract of openapi.yaml from outside: rule by rule, with what was
// expected and what was got. The service may be written in anything; nothing is needed but its URL, a product and a
// user. What cannot be known that way is a rule that is skipped with the reason, never one that passes.
//
//	report, err := contract.Check(ctx, contract.Config{URL: "http://127.0.0.1:8080", Product: 1, Users: []int64{1}}, contract.Rules)
//
// The conformance suite of the stages and the command loadtest conform both use it. Starting, stopping and killing a
// service is no part of it.
package contract

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Group says what a rule is about.
type Group string

// The groups.
const (
	Orders   Group = "orders"   // placing and reading
	Keys     Group = "keys"     // idempotency keys, one request after the other
	Refusals Group = "refusals" // what must be answered with an error
	Races    Group = "races"    // several requests at once
	Service  Group = "service"  // what a service says of itself
	All      Group = "all"      // what every answer must keep, judged when the other rules are through
)

// Rule is one promise of the contract.
type Rule struct {
	Name    string // stable, as in result.json
	Group   Group
	Promise string // what the contract promises, without a full stop

	after []string // rules without which this one says nothing
	check func(context.Context, *checking) error
}

// Rules are all rules, in the order in which they are checked. Nobody may change it.
var Rules = slices.Concat(orderRules, refusalRules, keyRules, raceRules, serviceRules, answerRules)

// In returns the rules of these groups, in order.
func In(groups ...Group) []Rule {
	return slices.DeleteFunc(slices.Clone(Rules), func(r Rule) bool { return !slices.Contains(groups, r.Group) })
}

// Outcome is how a rule ended.
type Outcome string

// The outcomes.
const (
	Pass    Outcome = "pass"
	Fail    Outcome = "fail"
	Skipped Outcome = "skipped"
)

// Finding is one thing that is not as the contract says.
type Finding struct {
	Request string `json:"request"`
	Want    string `json:"want"`
	Got     string `json:"got"`
}

// newFinding returns a finding of bounded length, whatever the service has sent.
func newFinding(request, want, got string) Finding {
	return Finding{Request: clip(request), Want: clip(want), Got: clip(got)}
}

// clip shortens what is longer than maxPart.
func clip(text string) string {
	if len(text) <= maxPart {
		return text
	}
	return strings.ToValidUTF8(text[:maxPart], "") + "…"
}

// String is the finding in one line.
func (f Finding) String() string { return fmt.Sprintf("%s: want %s, got %s", f.Request, f.Want, f.Got) }

// Result is what became of a rule.
type Result struct {
	Rule     Rule
	Outcome  Outcome
	Reason   string    // why it was skipped
	Findings []Finding // why it failed; at most maxFindings
}

// Report is what a check found.
type Report struct {
	Results    []Result // one per rule, in their order
	Created    int64    // answers 201: so many orders must exist now
	Units      int64    // units that were bought of Config.Product
	Overloaded int64    // answers 503
}

// Product is something to order. Name and PriceCents are empty where they are not known.
type Product struct {
	ID         int64
	Name       string
	PriceCents int64
	Stock      int64
}

// Stockroom does what only the service's database can: it makes products, and counts what became of them.
type Stockroom interface {
	// Make makes a product with so many units.
	Make(ctx context.Context, stock int64) (Product, error)
	// Count returns how many orders of the product there are, and how many units are left.
	Count(ctx context.Context, product int64) (orders, left int64, err error)
}

// Config says what to check. URL, Users and either Product or Stock are required.
type Config struct {
	URL     string
	Users   []int64 // that exist; buyers take turns
	Product int64   // that has enough units, of which at most UnitsBought are bought; without a Stockroom
	SoldOut int64   // product without stock; 0: there is none
	SellOut int64   // product whose whole stock may be bought; 0: there is none

	Stock Stockroom         // nil: no product is made, and HTTP is all that is known
	Skip  map[string]string // rules to leave out, each with the reason

	// Progress is called before each rule; nil: nobody wants to know.
	Progress func(Rule)

	patience time.Duration // for an order that is turned away; 0: defaultPatience
}

const (
	// UnitsBought is how many units of Config.Product are bought at most by a service that keeps the contract.
	UnitsBought = 20
	// maxFindings bounds what is kept of one rule.
	maxFindings = 20
	// maxPart is the length of the longest part of a finding, in bytes.
	maxPart = 500
	// maxQuantity is that of one order.
	maxQuantity = 1000
)

// Check asks the service at cfg.URL about each of the rules in turn and blocks until it has answered: some seconds, at
// most requestTimeout for each request. An order that is turned away with 503 is sent again, for twenty seconds; when one
// was turned away all that time, the orders after it are sent once. Nobody else may order the product meanwhile. The error says that nothing could
// be checked: no rule has that name, the service does not answer at all, or ctx has ended.
func Check(ctx context.Context, cfg Config, rules []Rule) (Report, error) {
	if err := cfg.validate(); err != nil {
		return Report{}, err
	}
	c := &checking{cfg: cfg, client: NewClient(strings.TrimRight(cfg.URL, "/"), false), failed: map[string]bool{}, patience: cmp.Or(cfg.patience, defaultPatience)}
	if err := c.begin(ctx); err != nil {
		return Report{}, err
	}
	var report Report
	for _, rule := range rules {
		if cfg.Progress != nil {
			cfg.Progress(rule)
		}
		result := c.one(ctx, rule)
		if err := ctx.Err(); err != nil {
			return Report{}, context.Cause(ctx)
		}
		report.Results = append(report.Results, result)
	}
	report.Created, report.Units, report.Overloaded = c.created, c.units, c.overloaded
	return report, nil
}

func (cfg Config) validate() error {
	if len(cfg.Users) == 0 {
		return errors.New("no users to order as")
	}
	if cfg.Stock == nil && cfg.Product < 1 {
		return errors.New("no product to order")
	}
	for name := range cfg.Skip {
		if !slices.ContainsFunc(Rules, func(r Rule) bool { return r.Name == name }) {
			return fmt.Errorf("there is no rule %q", name)
		}
	}
	return nil
}

// skipError ends a rule that cannot be checked here.
type skipError struct{ reason string }

func (e skipError) Error() string { return e.reason }

// one checks one rule.
func (c *checking) one(ctx context.Context, rule Rule) Result {
	result := Result{Rule: rule, Outcome: Skipped}
	if reason, ok := c.cfg.Skip[rule.Name]; ok {
		result.Reason = reason
		return result
	}
	for _, name := range rule.after {
		if c.failed[name] {
			c.failed[rule.Name] = true
			result.Reason = fmt.Sprintf("says nothing unless rule %s passes", name)
			return result
		}
	}
	c.findings = nil
	err := rule.check(ctx, c)
	var skip skipError
	if errors.As(err, &skip) && len(c.findings) == 0 {
		result.Reason = skip.reason
		return result
	}
	if err != nil && !errors.As(err, &skip) {
		c.differ("the service", "an answer", err.Error())
	}
	result.Findings = c.findings
	if result.Outcome = Pass; len(c.findings) > 0 {
		result.Outcome, c.failed[rule.Name] = Fail, true
	}
	return result
}
