// Package live shows a load while it goes on: in the terminal, as a view that redraws, and as a web page.
//
//	runner ── plan, progress, stock, verdicts ──► Board ◄── State, some times a second ── Terminal
//	                                                    ◄───────────────────────────────── Server ──► browsers
//
// The board is the model: it is told what happens, and whoever shows it asks for its state. So nobody who watches, however
// slowly, can hold up the run.
package live

// State is what a viewer sees at one moment. It is a copy that nothing changes any more. Its JSON is what the web page
// gets; what is null is not known; lists are never null.
type State struct {
	Title       string     `json:"title"`    // the command
	Headline    string     `json:"headline"` // what goes on before the first step, such as a build
	Step        int        `json:"step"`     // of Steps; 0: none has begun
	Steps       int        `json:"steps"`
	Label       string     `json:"label"`        // of the step
	Detail      string     `json:"detail"`       // what the step is doing, where it is no run
	LeftSeconds float64    `json:"left_seconds"` // what all of it will probably still take
	Run         *Run       `json:"run"`          // nil: none goes on
	Finished    []Finished `json:"finished"`     // the runs before, oldest first, a hundred at most
	Over        bool       `json:"over"`         // nothing will change any more
	Outcome     string     `json:"outcome"`      // how it ended
}

// Run is the run that goes on.
type Run struct {
	Info
	ElapsedSeconds  float64 `json:"elapsed_seconds"`
	DurationSeconds float64 `json:"duration_seconds"` // at most
	Auditing        bool    `json:"auditing"`         // the load is over

	Accepted int64  `json:"accepted"`
	Replayed int64  `json:"replayed"`
	Rejected int64  `json:"rejected"`
	Failed   int64  `json:"failed"`
	Unknown  int64  `json:"unknown"`
	Dropped  *int64 `json:"dropped"` // nil in the closed model, where there are none

	OrdersPerSecond float64  `json:"orders_per_second"` // accepted, in the last interval
	QPS             float64  `json:"qps"`               // answers of any kind
	P99MS           *float64 `json:"p99_ms"`            // of the orders accepted in the last interval that had any
	Points          []Point  `json:"points"`            // the last minute
	Stock           *Stock   `json:"stock"`             // nil: there is no database
}

// Info is what is known of a run before it begins.
type Info struct {
	Stage    string `json:"stage"` // or the URL of a service that is no stage
	Guard    string `json:"guard"`
	Expected string `json:"expected"` // safe or broken; "" for an unknown service
	Workload string `json:"workload"`
	Users    int    `json:"users"`
	Open     bool   `json:"open"` // the open model
	// Units that there are at the start, and in how many products; 0 products: nobody knows.
	Units    int64 `json:"units"`
	Products int   `json:"products"`
}

// Point is one interval of the time series.
type Point struct {
	Seconds         float64  `json:"seconds"` // its length
	OrdersPerSecond float64  `json:"orders_per_second"`
	P99MS           *float64 `json:"p99_ms"` // of fewer than a hundred orders: the longest; nil: there was no order
}

// Stock is what became of the goods.
type Stock struct {
	Initial  int64  `json:"initial"`
	Left     *int64 `json:"left"`     // in the database; nil: not yet known
	Promised int64  `json:"promised"` // units that buyers were told they have
	Sold     *int64 `json:"sold"`     // units in the database's orders; nil: not counted, because so few cannot be too many
	Oversold int64  `json:"oversold"` // above Initial, sold or promised
}

// Finished is a run that was audited.
type Finished struct {
	Stage           string   `json:"stage"`
	Guard           string   `json:"guard"`
	Workload        string   `json:"workload"`
	OrdersPerSecond float64  `json:"orders_per_second"`
	P99MS           *float64 `json:"p99_ms"`
	Verdict         string   `json:"verdict"` // "" where nothing was audited
	Oversold        int64    `json:"oversold"`
	Expected        string   `json:"expected"` // safe or broken
}

// Bad says whether the run is to be shown in red: not every bad one is unexpected.
func (f Finished) Bad() bool { return f.Verdict != "" && f.Verdict != "ok" }
