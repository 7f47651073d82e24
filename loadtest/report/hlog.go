package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// histogramFile names the histogram log of a run, in characters that every file system takes.
func histogramFile(r *Result, i int) string {
	run := &r.Runs[i]
	plain := func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' {
			return c
		}
		return '_'
	}
	stage := string(run.Stage)
	if stage == "" {
		stage = "target"
	}
	parts := []string{fmt.Sprintf("%02d", i+1), stage, string(run.Guard), run.Workload}
	if run.Guard == "" {
		parts = append(parts[:2], run.Workload)
	}
	name := strings.Map(plain, strings.ToLower(strings.Join(parts, "-")))
	return name[:min(len(name), 100)] + ".hlog"
}

// histogramLog returns a function that writes the latencies of accepted orders of a run, in microseconds, as an HdrHistogram
// log of version 1.3: one line per interval of the series, with times since the start of the run. There are only
// comments where the run was not measured by this process.
func histogramLog(i int) func(io.Writer, *Result) error {
	return func(w io.Writer, r *Result) error {
		run := &r.Runs[i]
		log := hdrhistogram.NewHistogramLogWriter(w)
		for _, write := range []func() error{
			func() error { return log.OutputComment("[" + run.Name() + ": accepted orders, microseconds]") },
			log.OutputLogFormatVersion,
			func() error { return log.OutputStartTime(r.StartedAt.UnixMilli()) },
			log.OutputLegend,
		} {
			if err := write(); err != nil {
				return err
			}
		}
		for j, latencies := range run.LatenciesUS {
			if err := log.OutputIntervalHistogram(interval(&run.Series[j], latencies)); err != nil {
				return err
			}
		}
		return nil
	}
}

func interval(p *Point, latenciesUS []uint32) *hdrhistogram.Histogram {
	const digits = 3
	longest := int64(10 * time.Minute / time.Microsecond)
	h := hdrhistogram.New(1, longest, digits)
	for _, us := range latenciesUS {
		_ = h.RecordValue(min(max(int64(us), 1), longest)) // cannot fail within the range
	}
	from := time.Duration(p.TSeconds * float64(time.Second)).Round(time.Millisecond)
	to := time.Duration((p.TSeconds + p.Seconds) * float64(time.Second)).Round(time.Millisecond)
	h.SetStartTimeMs(from.Milliseconds())
	h.SetEndTimeMs(to.Milliseconds())
	return h
}
