package report

import (
	"fmt"
	"io"

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

	CapacityPerSecond float64  `json:"capacity_per_second"` // orders that the stage accepts when it is kept busy
	LoadPerSecond     float64  `json:"load_per_second"`     // orders that were accepted while the fault lasted
	RecoveryMS        *float64 `json:"recovery_ms"`         // the longest time until all was as it should be again
	BootMS            *float64 `json:"boot_ms"`             // that part of it which a worker needs to start
	LongestWaitMS     float64  `json:"longest_wait_ms"`     // of an order, from its first attempt to its answer
	LongestGapMS      float64  `json:"longest_gap_ms"`      // between two accepted orders, whoever they were for
	DBConnectionsMax  *int64   `json:"db_connections_max"`  // of the stage, as the database saw it
	DBConns           int      `json:"db_conns"`            // that the stage allows itself
	Connections       []int    `json:"connections"`         // by worker, where they were counted; nil: they were not

	Audit    *audit.Report `json:"audit"`
	Verdict  string        `json:"verdict"`  // "ok", the audit's, or "missed"
	Problems []string      `json:"problems"` // what was promised and not kept, one sentence each; never null
}

// Missed is the verdict on a fault after which all orders are right, but a promise was not kept.
const Missed = "missed"

// Lost says whether the audit found anything wrong.
func (f *Fault) Lost() bool { return f.Audit == nil || f.Audit.Verdict != audit.OK }

var faultColumns = []column{
	{Title: "stage"}, {Title: "fault"}, {"times", true}, {"requests", true}, {"accepted", true}, {"failed", true}, {"unknown", true},
	{"retried", true}, {"lost", true}, {"recovery\nms", true}, {"longest\nwait ms", true}, {"load/s", true}, {Title: "verdict"},
}

// Faults writes the table of r's faults to w, and the problems under it. With color, what is wrong is red.
func Faults(w io.Writer, r *Result, color bool) error {
	g := grid{Columns: faultColumns}
	for i := range r.Faults {
		g.Rows = append(g.Rows, faultRow(&r.Faults[i]))
	}
	if _, err := fmt.Fprintln(w, renderGrid(g, color)); err != nil {
		return err
	}
	for i := range r.Faults {
		for _, problem := range r.Faults[i].Problems {
			if _, err := fmt.Fprintf(w, "%s, %s: %s\n", r.Faults[i].Stage, r.Faults[i].Fault, printable(problem)); err != nil {
				return err
			}
		}
	}
	return nil
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
		{Text: f.Verdict, Bad: f.Verdict != string(audit.OK)},
	})
}
