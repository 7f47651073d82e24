package attack

import "github.com/HdrHistogram/hdrhistogram-go"

// Observations that a figure needs so that at least ten of them lie above it
// (the median is given from the first on).
const (
	minCountP90  = 100
	minCountP99  = 1_000
	minCountP999 = 10_000
)

// Latency are the figures of a histogram in milliseconds. A figure that the count
// cannot carry is nil.
type Latency struct {
	Count int64    `json:"count"`
	Mean  *float64 `json:"mean"`
	P50   *float64 `json:"p50"`
	P90   *float64 `json:"p90"`
	P99   *float64 `json:"p99"`
	P999  *float64 `json:"p99_9"`
	Max   *float64 `json:"max"`
}

// Summarize returns the figures of a histogram of microseconds, such as those of
// Result.
func Summarize(h *hdrhistogram.Histogram) Latency {
	lat := Latency{Count: h.TotalCount()}
	if lat.Count == 0 {
		return lat
	}
	mean := h.Mean() / microsPerMilli
	lat.Mean = &mean
	lat.P50 = percentile(h, 50, 1)
	lat.P90 = percentile(h, 90, minCountP90)
	lat.P99 = percentile(h, 99, minCountP99)
	lat.P999 = percentile(h, 99.9, minCountP999)
	lat.Max = percentile(h, 100, 1)
	return lat
}

const microsPerMilli = 1000

// percentile returns the value below which p percent lie, in milliseconds, or nil
// where there are fewer than minCount observations.
func percentile(h *hdrhistogram.Histogram, p float64, minCount int64) *float64 {
	if h.TotalCount() < minCount {
		return nil
	}
	ms := float64(h.ValueAtQuantile(p)) / microsPerMilli
	return &ms
}
