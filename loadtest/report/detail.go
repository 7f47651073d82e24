package report

import (
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

var answerColumns = []column{
	{Title: "run"}, {"requests", true}, {"accepted", true}, {"replayed", true}, {"rejected", true},
	{"failed", true}, {"unknown", true}, {Title: "by code"},
}

var auditColumns = []column{
	{Title: "run"}, {"initial", true}, {"sold", true}, {"left", true}, {"drift", true}, {"undersold", true}, {"lost", true}, {"phantom", true},
	{"duplicate", true}, {"foreign", true}, {"mismatched", true}, {"unknown, placed", true},
}

// answersGrid lists what the clients were told.
func answersGrid(r *Result) grid {
	g := grid{
		Title: "Answers",
		Settings: "rejected: a valid no · failed: certainly not placed · unknown: may be placed, the audit looks · " +
			"a sustained run counts those of its measured window",
		Columns: answerColumns,
	}
	for i := range r.Runs {
		run := &r.Runs[i]
		g.Rows = append(g.Rows, align(answerColumns, []cell{
			{Text: run.Name()},
			plain(run.Requests), plain(run.Accepted), plain(run.Replayed), plain(run.Rejected), plain(run.Failed), plain(run.Unknown),
			{Text: codes(run)},
		}))
	}
	return g
}

// auditGrid lists what the audits counted. It has no rows when nothing was audited.
func auditGrid(r *Result) grid {
	g := grid{
		Title:    "Audit",
		Settings: "drift: sold + left − initial · lost: accepted, but not in the database · phantom: refused, but in the database · warm-up included",
		Columns:  auditColumns,
	}
	for i := range r.Runs {
		run := &r.Runs[i]
		a := run.Audit
		if a == nil {
			continue
		}
		undersold := cell{Text: unknown}
		if a.Undersold != nil {
			undersold = wrong(*a.Undersold)
		}
		g.Rows = append(g.Rows, align(auditColumns, []cell{
			{Text: run.Name()},
			{Text: compact(a.Initial)}, plain(a.Sold), {Text: compact(a.Left)}, wrong(a.StockDrift), undersold, wrong(a.LostOrders), wrong(a.PhantomOrders),
			wrong(a.DuplicateOrders), wrong(a.ForeignOrders), wrong(a.MismatchedOrders), plain(a.UnknownPlaced),
		}))
	}
	return g
}

func plain(n int64) cell { return cell{Text: humanize.Comma(n)} }

// wrong is a count that should be 0.
func wrong(n int64) cell { return cell{Text: humanize.Comma(n), Bad: n != 0} }

// codes counts the answers of a run that were not orders: "out_of_stock 128, overloaded 3".
func codes(run *Run) string {
	return codeCounts(run.RejectedByCode, run.FailedByCode, run.UnknownByCode)
}

func codeCounts(all ...map[string]int64) string {
	var parts []string
	for _, m := range all {
		for _, code := range slices.Sorted(maps.Keys(m)) {
			parts = append(parts, name(code)+" "+humanize.Comma(m[code]))
		}
	}
	return strings.Join(parts, ", ")
}
