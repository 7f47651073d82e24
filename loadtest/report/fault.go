package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"example.com/flashsale/loadtest/audit"
)

// Fault is one fault that was inflicted on a stage under load, and what became of the orders. Its attempts add up:
// Requests = Accepted + Replayed + Rejected + Failed + Unknown.
type Fault struct {
	Stage string `json:"stage"`
	Guard Text   `json:"guard"`
	Fault string `json:"fault"`
	Times int    `json:"times"` // how often it was inflicted

	Orders     int64 `json:"orders"`     // that buyers wanted: one key each
	Requests   int64 `json:"requests"`   // attempts
	Accepted   int64 `json:"accepted"`   // as in a Run, and so are the next four
	Replayed   int64 `json:"replayed"`   // among them orders whose first answer was lost
	Rejected   int64 `json:"rejected"`   //
	Failed     int64 `json:"failed"`     //
	Unknown    int64 `json:"unknown"`    //
	Retried    int64 `json:"retried"`    // attempts beyond the first of their order
	Twice      int64 `json:"twice"`      // orders that needed more than one retry
	Unanswered int64 `json:"unanswered"` // orders without an answer in the end

	ByCode map[string]int64 `json:"by_code"` // failed and unknown attempts

	CapacityPerSecond float64 `json:"capacity_per_second"` // orders that the stage accepts when it is kept busy
	LoadPerSecond     float64 `json:"load_per_second"`     // orders that were accepted while the fault lasted

	// CapacityAfterPerSecond is measured again where the load was less than half of the capacity; else nil.
	CapacityAfterPerSecond *float64 `json:"capacity_after_per_second"`

	RecoveryMS       *float64 `json:"recovery_ms"`        // the longest time until all was as it should be again
	BootMS           *float64 `json:"boot_ms"`            // that part of it which a worker needs to start
	LongestWaitMS    float64  `json:"longest_wait_ms"`    // of an order, from its first attempt to its answer
	LongestGapMS     float64  `json:"longest_gap_ms"`     // between two accepted orders, whoever they were for
	DBConnectionsMax *int64   `json:"db_connections_max"` // of the stage, as the database saw it
	DBConns          int      `json:"db_conns"`           // that the stage allows itself
	Connections      []int    `json:"connections"`        // by worker, where they were counted; nil: they were not

	Audit    *audit.Report `json:"audit"`
	Verdict  string        `json:"verdict"`  // "ok", the audit's, or "missed"
	Problems []string      `json:"problems"` // what was promised and not kept, one sentence each; never null
	Notes    []string      `json:"notes"`    // what else a reader should know, one sentence each; never null
}

// LoadShare returns the share of the capacity that was accepted while the fault lasted; 1 where no capacity is known.
func (f *Fault) LoadShare() float64 {
	if f.CapacityPerSecond <= 0 {
		return 1
	}
	return f.LoadPerSecond / f.CapacityPerSecond
}

// Missed is the verdict on a fault after which all orders are right, but a promise was not kept.
const Missed = "missed"

// Lost says whether the audit found anything wrong.
func (f *Fault) Lost() bool { return f.Audit == nil || f.Audit.Verdict != audit.OK }

var faultColumns = []column{
	{Title: "stage"}, {Title: "fault"}, {"times", true}, {"requests", true}, {"accepted", true}, {"failed", true}, {"unknown", true},
	{"retried", true}, {"lost", true}, {"recovery\nms", true}, {"longest\nwait ms", true}, {"load/s", true}, {"of\ncapacity", true}, {Title: "verdict"},
}

var balanceColumns = []column{
	{Title: "stage"}, {Title: "fault"}, {Title: "socket"}, {"connections", true}, {"workers", true}, {Title: "by worker"}, {"fewest", true}, {"most", true}, {"most ÷\nmedian", true},
}

var faultLoadColumns = []column{
	{Title: "stage"}, {Title: "fault"}, {"orders", true}, {"capacity\n/s", true}, {"load\n/s", true}, {"retried\ntwice", true}, {"without\nanswer", true},
	{"longest gap\nms", true}, {"worker\nstart ms", true}, {"database\nconnections", true}, {"allowed", true}, {Title: "failed and unknown, by code"},
}

var faultAuditColumns = []column{
	{Title: "stage"}, {Title: "fault"}, {"sold", true}, {"oversold", true}, {"drift", true}, {"lost", true}, {"phantom", true}, {"duplicate", true},
	{"foreign", true}, {"mismatched", true}, {"unknown, placed", true}, {Title: "verdict"},
}

// faultTerms explain the tables of faults.
var faultTerms = []term{
	{"fault", "What was done to the stage while buyers ordered. Each has a stage of its own, started anew, with a product and buyers of its own, so that one fault cannot hide behind another."},
	{"times", "How often it was inflicted."},
	{"requests, retried", "Attempts, and those of them beyond the first of their order. A buyer who gets no answer asks again under the same idempotency key until it knows."},
	{"accepted", "Attempts that were told of an order: a new one, or one that an earlier attempt had made."},
	{"failed, unknown", "Certainly not placed (503, connection refused), and without an answer: the worker died with the request. At term and kill-master nobody listens in the end."},
	{"lost", "Orders that a buyer was told of and that the database does not have. One is too many."},
	{"recovery", "The longest time until all was as it should be again: workers replaced, reloaded, or all gone."},
	{"longest wait", "Of an order, from its first attempt to its answer."},
	{"load/s, of capacity", "Orders per second that were accepted while the fault lasted, and their share of what the stage could do just before. The buyers ask for 60 %; where less than half was accepted, a sentence says why."},
	{"longest gap", "Between two accepted orders, whoever they were for."},
	{"balance", "How connections that stay open are spread over the workers. With a socket for each worker none may be without, and none may have more than 2.5 times the median; with one socket for all it is only reported."},
	{"verdict", "ok: the audit passed, and every promise was kept. missed: the audit passed, and a promise was not kept. Anything else is the audit's: orders or stock are not right."},
	{unknown, "Not known, or there is none."},
}

// faultGrids are the tables of faults that a reader sees first; none where there were none.
func faultGrids(r *Result) []grid {
	found := grid{
		Title:    "Faults under load",
		Settings: "each on a stage started anew, with buyers of its own who ask again until they know · lost: accepted, but not in the database",
		Columns:  faultColumns,
	}
	balance := grid{Title: "Balance: connections that stay open", Settings: "how many each worker serves", Columns: balanceColumns}
	for i := range r.Faults {
		f := &r.Faults[i]
		found.Rows = append(found.Rows, faultRow(f))
		if len(f.Connections) > 0 {
			balance.Rows = append(balance.Rows, balanceRow(f))
		}
	}
	return withRows(found, balance)
}

// faultDetails are the tables behind them.
func faultDetails(r *Result) []grid {
	load := grid{Title: "Load and answers", Settings: "failed: certainly not placed · unknown: may be placed, the audit looks", Columns: faultLoadColumns}
	audits := grid{
		Title:    "Audit",
		Settings: "drift: sold + left − initial · lost: accepted, but not in the database · phantom: refused, but in the database",
		Columns:  faultAuditColumns,
	}
	for i := range r.Faults {
		f := &r.Faults[i]
		load.Rows = append(load.Rows, faultLoadRow(f))
		if f.Audit != nil {
			audits.Rows = append(audits.Rows, faultAuditRow(f))
		}
	}
	return withRows(load, audits)
}

// withRows leaves out the empty ones.
func withRows(grids ...grid) []grid {
	return slices.DeleteFunc(grids, func(g grid) bool { return len(g.Rows) == 0 })
}

func balanceRow(f *Fault) []cell {
	socket := "one per worker"
	if f.Fault == sharedFault {
		socket = "one for all"
	}
	total := 0
	var each []string
	var values []float64
	for _, n := range f.Connections {
		total += n
		each = append(each, fmt.Sprint(n))
		values = append(values, float64(n))
	}
	least, most := slices.Min(values), slices.Max(values)
	ratio := unknown
	if m := median(values); m > 0 {
		ratio = fmt.Sprintf("%.2f", most/m)
	}
	return align(balanceColumns, []cell{
		{Text: name(f.Stage)}, {Text: f.Fault}, {Text: socket}, {Text: fmt.Sprint(total)}, {Text: fmt.Sprint(len(values))}, {Text: strings.Join(each, ", ")},
		{Text: fmt.Sprint(least), Bad: least == 0 && f.Fault != sharedFault}, {Text: fmt.Sprint(most)}, {Text: ratio},
	})
}

// sharedFault is the one of which the balance is only reported.
const sharedFault = "balance-shared"

func faultLoadRow(f *Fault) []cell {
	return align(faultLoadColumns, []cell{
		{Text: name(f.Stage)}, {Text: f.Fault}, plain(f.Orders), {Text: rate(f.CapacityPerSecond)}, {Text: rate(f.LoadPerSecond)}, plain(f.Twice), plain(f.Unanswered),
		{Text: millis(&f.LongestGapMS)}, {Text: millis(f.BootMS)}, {Text: whole(f.DBConnectionsMax)}, {Text: fmt.Sprint(f.DBConns)}, {Text: codeCounts(f.ByCode)},
	})
}

func faultAuditRow(f *Fault) []cell {
	a := f.Audit
	return align(faultAuditColumns, []cell{
		{Text: name(f.Stage)}, {Text: f.Fault}, plain(a.Sold), wrong(a.Oversold), wrong(a.StockDrift), wrong(a.LostOrders), wrong(a.PhantomOrders),
		wrong(a.DuplicateOrders), wrong(a.ForeignOrders), wrong(a.MismatchedOrders), plain(a.UnknownPlaced),
		{Text: string(a.Verdict), Bad: a.Verdict != audit.OK},
	})
}

// judgeFaults is Judge for a result that has faults alone.
func judgeFaults(r *Result) Judgement {
	j := Judgement{OK: !r.Incomplete, ExitCode: ExitOK}
	lost, missed := 0, 0
	for i := range r.Faults {
		f := &r.Faults[i]
		if f.Lost() {
			lost++
			j.Sentences = append(j.Sentences, f.place()+": "+f.auditText()+".")
		}
		if len(f.Problems) > 0 {
			missed++
		}
		for _, problem := range slices.Concat(f.Problems, f.Notes) {
			j.Sentences = append(j.Sentences, f.place()+": "+printable(problem)+".")
		}
	}
	what := count(len(r.Faults), "fault")
	if stages := distinct(r.Faults, func(f *Fault) string { return f.Stage }); len(stages) > 1 {
		what = count(len(stages), "stage") + ", " + what
	}
	if r.Incomplete {
		what += " (not complete)"
		j.ExitCode = ExitFailed
	}
	switch {
	case lost > 0:
		j.OK, j.Headline = false, fmt.Sprintf("%s: after %d of them orders or stock are not right.", what, lost)
		j.ExitCode = cmp.Or(j.ExitCode, ExitUnexpected)
	case missed > 0:
		j.OK, j.Headline = false, fmt.Sprintf("%s: nothing lost, but after %d of them a promise was not kept.", what, missed)
		j.ExitCode = cmp.Or(j.ExitCode, ExitThreshold)
	default:
		j.Headline = what + ": nothing lost, doubled or made up; every promise kept."
		if len(r.Thresholds) > 0 {
			j.Sentences = append(j.Sentences, thresholdsMet(r))
		}
	}
	return j
}

func (f *Fault) place() string { return name(f.Stage) + ", " + f.Fault }

func (f *Fault) auditText() string {
	if f.Audit == nil {
		return "not audited"
	}
	return problems(f.Audit)
}

// faultGroup shows how long each fault was felt.
func faultGroup(r *Result) chartGroup {
	g := chartGroup{
		Title: "How long a fault was felt",
		Note:  "Recovery: until all workers were as they should be. Longest wait: of one order, from its first attempt to its answer, however often it was repeated.",
	}
	stages := distinct(r.Faults, func(f *Fault) string { return f.Stage })
	for _, of := range []struct {
		title string
		ms    func(*Fault) *float64
	}{
		{"Recovery", func(f *Fault) *float64 { return f.RecoveryMS }},
		{"Longest wait of an order", func(f *Fault) *float64 { return &f.LongestWaitMS }},
	} {
		c := chart{Title: of.title}
		most := 1e-9
		for i := range r.Faults {
			if ms := of.ms(&r.Faults[i]); ms != nil {
				most = max(most, *ms)
			}
		}
		var spoken []string
		for i := range r.Faults {
			f := &r.Faults[i]
			if ms := of.ms(f); ms != nil {
				b := bar{Class: fmt.Sprintf("s%d", slices.Index(stages, f.Stage)%colours), Name: name(f.Stage) + " · " + f.Fault, Value: axisMillis(*ms), Width: percent(100 * *ms / most)}
				if f.Verdict != string(audit.OK) {
					b.Bad, b.Value = true, b.Value+" · "+f.Verdict
				}
				c.Bars = append(c.Bars, b)
				spoken = append(spoken, b.Name+": "+b.Value)
			}
		}
		if len(c.Bars) > 0 {
			c.Label = of.title + ". " + strings.Join(spoken, "; ") + "."
			g.Charts = append(g.Charts, c)
		}
	}
	return g
}

func faultRow(f *Fault) []cell {
	lost := cell{Text: unknown, Bad: true}
	if f.Audit != nil {
		lost = cell{Text: humanize.Comma(f.Audit.LostOrders), Bad: f.Audit.LostOrders > 0}
	}
	return align(faultColumns, []cell{
		{Text: name(f.Stage)}, {Text: f.Fault}, {Text: humanize.Comma(int64(f.Times))}, {Text: humanize.Comma(f.Requests)},
		{Text: humanize.Comma(f.Accepted + f.Replayed)}, {Text: humanize.Comma(f.Failed)}, {Text: humanize.Comma(f.Unknown)},
		{Text: humanize.Comma(f.Retried)}, lost, {Text: millis(f.RecoveryMS)}, {Text: millis(&f.LongestWaitMS)}, {Text: rate(f.LoadPerSecond)},
		{Text: fmt.Sprintf("%.0f %%", 100*f.LoadShare())},
		{Text: f.Verdict, Bad: f.Verdict != string(audit.OK)},
	})
}
