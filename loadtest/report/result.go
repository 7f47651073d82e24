// Package report holds the result of a measurement and writes it for people and for scripts.
//
// A Result is what result.json contains (schema 1). From it alone come the judgement (Judge: is everything as
// theory expects it, and which exit code says so), the table in the terminal, report.md and report.html. So every
// form tells the same story, and an old result.json can be rendered again.
//
// Names in a Result come from the service under test and are not trusted: every form escapes them.
package report

import (
	"encoding/json"
	"time"

	"example.com/flashsale/loadtest/audit"
)

// Schema is the version of result.json that this package writes. Adding a key keeps it, renaming one raises it.
const Schema = 1

// The two workloads, as they are named in result.json.
const (
	FlashSale = "flash-sale"
	Sustained = "sustained"
)

// What theory says of a guard, as it is named in result.json.
const (
	Safe   = "safe"
	Broken = "broken"
)

// Result is everything one command measured. Pointers are nil, and null in JSON, where a value is unknown.
type Result struct {
	Schema       int       `json:"schema"`
	StartedAt    time.Time `json:"started_at"`
	Command      string    `json:"command"`
	Commit       Text      `json:"commit"`
	Seed         uint64    `json:"seed"`
	Machine      Machine   `json:"machine"`
	Backing      Backing   `json:"backing"`
	Ceilings     Ceilings  `json:"ceilings"`
	ExpectBroken bool      `json:"expect_broken"`    // a broken guard that passes counts as a failure
	Incomplete   bool      `json:"incomplete"`       // it failed or was interrupted before all runs were done
	Notes        []string  `json:"notes"`            // what a reader must know, such as "interrupted"; never null
	Thresholds   []string  `json:"thresholds"`       // what each run had to meet; nil: nothing
	Runs         []Run     `json:"runs"`             // in the order in which they ran; never null
	Faults       []Fault   `json:"faults,omitempty"` // of the chaos command
	Rules        []Rule    `json:"rules,omitempty"`  // of the conform command

	Capacities []Capacity `json:"capacities"` // nil: nothing was searched for
}

// Machine is where the load generator ran. For stages that it started itself, they ran there too.
type Machine struct {
	CPUs        int    `json:"cpus"`
	CPUModel    Text   `json:"cpu_model"`
	MemoryBytes *int64 `json:"memory_bytes"`
	OS          string `json:"os"`
	Kernel      Text   `json:"kernel"`
	GoVersion   string `json:"go_version"`
}

// Backing names the services that the stages used. Nil means that there was none, or that it is unknown.
type Backing struct {
	Postgres *Postgres `json:"postgres"`
	Redis    *Redis    `json:"redis"`
}

// Postgres tells what decides the database's speed.
type Postgres struct {
	Source            string `json:"source"`
	Version           string `json:"version"`
	Fsync             Text   `json:"fsync"`
	SynchronousCommit Text   `json:"synchronous_commit"`
	Filesystem        Text   `json:"filesystem"`
	FsyncUS           *int64 `json:"fsync_us"` // microseconds of one fsync where the database lies
}

// Redis names the Redis server.
type Redis struct {
	Source  string `json:"source"`
	Version string `json:"version"`
}

// Ceilings are what this machine can do at best for one part of the work, per second. Nil where not measured.
type Ceilings struct {
	HTTPNoop          *Sample `json:"http_noop_per_second"`
	HotRowSingle      *Sample `json:"hot_row_single_per_second"`
	HotRowTransaction *Sample `json:"hot_row_transaction_per_second"`
	HotRowBatch       *Sample `json:"hot_row_batch_per_second"`
}

// Sample summarises repeated measurements of one value.
type Sample struct {
	Median      float64 `json:"median"`
	Min         float64 `json:"min"`
	Max         float64 `json:"max"`
	Samples     int     `json:"samples"`
	Connections *int    `json:"connections"` // of the database: as many as were fastest; nil where none is measured
}

// Run is one workload against one stage with one guard.
type Run struct {
	Target              string           `json:"target"`
	Stage               Text             `json:"stage"` // empty for a target that is no stage
	Guard               Text             `json:"guard"` // empty for a target that is no stage
	Expected            Text             `json:"expected"`
	Workload            string           `json:"workload"`
	Settings            Settings         `json:"settings"`
	Requests            int64            `json:"requests"`
	Accepted            int64            `json:"accepted"`
	Replayed            int64            `json:"replayed"`
	Rejected            int64            `json:"rejected"`
	RejectedByCode      map[string]int64 `json:"rejected_by_code"`
	Failed              int64            `json:"failed"`
	FailedByCode        map[string]int64 `json:"failed_by_code"`
	Unknown             int64            `json:"unknown"`
	UnknownByCode       map[string]int64 `json:"unknown_by_code"`
	UsersUnanswered     *int64           `json:"users_unanswered"` // flash sale: users whose last request got no answer at all
	ElapsedSeconds      float64          `json:"elapsed_seconds"`
	QPS                 float64          `json:"qps"`
	OrdersPerSecond     float64          `json:"orders_per_second"`
	Latency             Latency          `json:"latency_ms"`
	RejectedLatency     Latency          `json:"rejected_latency_ms"`
	AllLatency          Latency          `json:"all_latency_ms"`
	ServiceTime         *Latency         `json:"service_time_ms"` // open model only, as the next three
	Dropped             *int64           `json:"dropped"`         // due in the measured window, but not sent in time; not among Requests
	VoidReason          Text             `json:"void_reason"`     // why the figures say nothing about the service; empty: they do
	Generator           *Generator       `json:"generator"`
	Overload            *Overload        `json:"overload"` // nil: there was no spike
	SupportedDailyUsers *int64           `json:"supported_daily_users"`
	Ceiling             *CeilingRatio    `json:"ceiling"`  // the lowest of those that bound it
	Ceilings            []CeilingRatio   `json:"ceilings"` // all that were measured for it; nil: none
	Resources           Resources        `json:"resources"`
	GeneratorMemory     *int64           `json:"generator_memory_bytes"` // of the processes that drove the users, when the last answer had come
	Audit               *audit.Report    `json:"audit"`

	LatencyPercentiles []Percentile `json:"latency_percentiles"` // of accepted orders, as far as their number carries
	Series             []Point      `json:"series"`              // nil: not known

	// LatenciesUS are the latencies of accepted orders in microseconds, sorted, for each point of Series. They are
	// there only in the process that measured them, for the histogram log.
	LatenciesUS [][]uint32 `json:"-"`
}

// Settings are the workload's and, from /health, the stage's. The stage's are nil for a target that is no stage.
type Settings struct {
	Users           int      `json:"users"`
	RatePerSecond   *float64 `json:"rate_per_second"` // open model only, as the next three
	PeakPerSecond   *float64 `json:"peak_per_second"` // nil for a constant rate
	Profile         Text     `json:"profile"`
	Arrivals        Text     `json:"arrivals"`
	Stock           *int64   `json:"stock"` // nil when the run did not make the product itself
	Products        int      `json:"products"`
	Skew            float64  `json:"skew"`
	DurationSeconds float64  `json:"duration_seconds"`
	WarmupSeconds   float64  `json:"warmup_seconds"`

	ClientTimeoutSeconds *float64 `json:"client_timeout_seconds"` // how long a user waits for one answer; nil: not known

	UserLatencyMS *float64 `json:"user_latency_ms"` // simulated by the stage
	Processes     *int     `json:"processes"`
	Workers       *int     `json:"workers"`
	DBConns       *int     `json:"db_conns"`
	QueueCap      *int     `json:"queue_cap"`

	// StageEnv are settings that the stage got through its environment, beyond those above.
	StageEnv map[string]string `json:"stage_env"`
}

// Latency summarises a histogram in milliseconds. A value that the count cannot carry is nil: a high percentile needs
// ten measured values beyond it, so p90 needs 100, p99 1,000 and p99_9 10,000.
type Latency struct {
	Count int64    `json:"count"`
	Mean  *float64 `json:"mean"`
	P50   *float64 `json:"p50"`
	P90   *float64 `json:"p90"`
	P99   *float64 `json:"p99"`
	P999  *float64 `json:"p99_9"`
	Max   *float64 `json:"max"`
}

// CeilingRatio says how near a run came to a ceiling that was measured before and after it: orders per second ÷ the mean
// of both. RatioMin and RatioMax are those to the higher and to the lower of the two.
type CeilingRatio struct {
	Name            string  `json:"name"` // as in Ceilings
	BeforePerSecond float64 `json:"before_per_second"`
	AfterPerSecond  float64 `json:"after_per_second"`
	Ratio           float64 `json:"ratio"`
	RatioMin        float64 `json:"ratio_min"`
	RatioMax        float64 `json:"ratio_max"`
}

// Resources are what the stage's whole process tree used during the run. Nil where it could not be measured.
type Resources struct {
	ProcessesMax               *int64   `json:"processes_max"`
	OSThreadsMax               *int64   `json:"os_threads_max"`
	GoroutinesMax              *int64   `json:"goroutines_max"`
	PSSBytesMax                *int64   `json:"pss_bytes_max"` // memory; what processes share is divided among them
	CPUSeconds                 *float64 `json:"cpu_seconds"`
	CPUUSPerOrder              *float64 `json:"cpu_us_per_order"`
	ContextSwitchesVoluntary   *int64   `json:"context_switches_voluntary"`
	ContextSwitchesInvoluntary *int64   `json:"context_switches_involuntary"`
	ContextSwitchesPerOrder    *float64 `json:"context_switches_per_order"`
	DBConnectionsMax           *int64   `json:"db_connections_max"`
}

// Text is a string that is null in JSON where it is empty, which means unknown.
type Text string

// MarshalJSON writes null for the empty text.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}
