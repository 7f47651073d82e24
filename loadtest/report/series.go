package report

// Point is one interval of a run: one second, or, in the first second of a flash sale, ten milliseconds. The warm-up is
// part of the series. Counts are those of answers that came in the interval, latencies those of accepted orders. What is
// sampled stands in the interval in which it was seen and is nil in the others, and where it cannot be known.
type Point struct {
	TSeconds float64  `json:"t_seconds"` // when the interval begins, since the start of the run
	Seconds  float64  `json:"seconds"`   // its length; the last one may be shorter
	Accepted int64    `json:"accepted"`
	Replayed int64    `json:"replayed"`
	Rejected int64    `json:"rejected"`
	Failed   int64    `json:"failed"`
	Unknown  int64    `json:"unknown"`
	Dropped  *int64   `json:"dropped"` // orders that could not be sent in time; nil in the closed model
	P50MS    *float64 `json:"p50_ms"`
	P99MS    *float64 `json:"p99_ms"` // from 100 orders on; rougher than that of a whole run
	MaxMS    *float64 `json:"max_ms"`
	InFlight int64    `json:"in_flight"` // requests without an answer at the end of the interval

	CPUCores                 *float64 `json:"cpu_cores"` // CPU seconds of the stage per second: 1 is one busy core
	PSSBytes                 *int64   `json:"pss_bytes"`
	OSThreads                *int64   `json:"os_threads"`
	Goroutines               *int64   `json:"goroutines"`
	ContextSwitchesPerSecond *float64 `json:"context_switches_per_second"`
	DBConnections            *int64   `json:"db_connections"` // sessions of the stage
	DBLockWaits              *int64   `json:"db_lock_waits"`  // those of them that wait for a lock
	StockLeft                *int64   `json:"stock_left"`     // in the database, of all products of the run
}

// Answers returns how many requests ended in the interval.
func (p *Point) Answers() int64 {
	return p.Accepted + p.Replayed + p.Rejected + p.Failed + p.Unknown
}

// Percentile is one point of a latency distribution: so many percent of accepted orders took at most so long. Percentile
// 100 is the longest.
type Percentile struct {
	Percentile float64 `json:"percentile"`
	MS         float64 `json:"ms"`
}
