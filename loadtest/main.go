// Command loadtest drives the stages of Flashsale, says how fast each is, and whether it sold more than it had.
//
//	loadtest compare          every stage in turn, with a guard that is broken and with its own
//	loadtest ceilings         what this machine can do at best, which is what a stage is to be compared with
//	loadtest capacity         the highest rate that a stage holds within an objective, and the daily users it is enough for
//	loadtest serve <stage>    one stage with its database, until Ctrl-C
//	loadtest run --target …   a stage, or any service with the same API, that runs already
//	loadtest diff A B         what changed between two measurements by more than chance
//	loadtest conform          whether a service keeps the HTTP contract, rule by rule
//	loadtest chaos            faults under load on the stages that have a master, and what became of the orders
//	loadtest product, merge   one sale driven from several machines
//	loadtest audit --product  the database's side of the check alone
//
// It knows the service by its HTTP API and its tables alone: it shares no code with it, so that one bug cannot blind
// both the seller and the auditor.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"example.com/flashsale/harness/contract"
	"example.com/flashsale/loadtest/report"
)

func main() {
	ctx, stop := untilSignal()
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// commands are the command line.
type commands struct {
	Compare  compareCmd  `cmd:"" help:"Start each stage in turn, drive it with a broken guard and with its own, and compare."`
	Ceilings ceilingsCmd `cmd:"" help:"Measure what this machine can do at best: HTTP alone, and one hot product in the database alone."`
	Capacity capacityCmd `cmd:"" help:"Find the highest rate that a stage holds within an objective, and for how many daily users it is enough."`
	Serve    serveCmd    `cmd:"" help:"Run one stage and the services that it needs, until Ctrl-C."`
	Run      runCmd      `cmd:"" help:"Drive a stage that runs already, audit it and report."`
	Diff     diffCmd     `cmd:"" help:"Compare repeated runs before and after a change: what differs by more than chance."`
	Conform  conformCmd  `cmd:"" help:"Check a service that runs already against the HTTP contract, rule by rule; it may be written in anything."`
	Chaos    chaosCmd    `cmd:"" help:"Inflict faults on the stages with a master while buyers order, and audit what became of the orders."`
	Product  productCmd  `cmd:"" help:"Make a product that several 'loadtest run --start-at' order together."`
	Merge    mergeCmd    `cmd:"" help:"Join what several 'loadtest run --start-at' found, and audit it together."`
	Member   memberCmd   `cmd:"" name:"generator" hidden:"" help:"One process of several that drive a service together; 'loadtest' starts it by itself."`
	Audit    auditCmd    `cmd:"" help:"Check products in the database, without the clients' side."`
}

const about = `Drives the five stages of Flashsale, measures them and audits what they sold.

Exit codes:
  0  all as expected
  1  the run itself failed
  2  wrong usage
  3  a guard that should be safe was not, or a broken one passed where --expect-broken asked for proof; chaos lost,
     doubled or made up an order; the database that audit checked is not consistent; the audited sale of conform went wrong
  4  a --threshold was missed, or a capacity was not held at any rate; diff found something significantly worse; chaos
     found another promise broken, or conform a rule of the contract
  5  the generator could not keep the schedule of an open model, so the figures are void`

// app is what every command gets.
type app struct {
	ctx            context.Context
	args           []string
	getenv         func(string) string
	stdout, stderr io.Writer
}

// run is the whole program and returns its exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) (code int) {
	// Kong leaves by a function after it has printed a help text.
	type exit int
	defer func() {
		switch v := recover().(type) {
		case nil:
		case exit:
			code = int(v)
		default:
			panic(v)
		}
	}()
	parser, err := kong.New(&commands{},
		kong.Name("loadtest"), kong.Description(about), kong.Writers(stdout, stderr),
		kong.Vars{"units": fmt.Sprint(contract.UnitsBought), "buyers": fmt.Sprint(contract.Racers)},
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}))
	if err != nil {
		panic(err) // the struct tags above are wrong
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		err = usagef("%w (loadtest --help lists commands and flags)", err)
	} else {
		err = parsed.Run(&app{ctx: ctx, args: args, getenv: getenv, stdout: stdout, stderr: stderr})
	}
	return exitCode(stderr, err)
}

// exitError is an error that chooses the exit code. A nil err has been explained already.
type exitError struct {
	code int
	err  error
}

// Error returns the sentence for the terminal.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the cause.
func (e *exitError) Unwrap() error { return e.err }

// usagef is an error that another command line mends.
func usagef(format string, args ...any) error {
	return &exitError{code: report.ExitUsage, err: fmt.Errorf(format, args...)}
}

// exitCode prints err, if there is anything to say, and returns the exit code.
func exitCode(stderr io.Writer, err error) int {
	if err == nil {
		return report.ExitOK
	}
	code := report.ExitFailed
	var own *exitError
	if errors.As(err, &own) {
		code = own.code
	}
	if own == nil || own.err != nil {
		_, _ = fmt.Fprintf(stderr, "loadtest: %s\n", strings.TrimSpace(err.Error()))
	}
	return code
}
