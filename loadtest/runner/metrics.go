package runner

import (
	"context"
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"example.com/flashsale/loadtest/report"
)

// scrape is what GET /metrics of a target says of its process. It is empty where there is nothing to be had.
type scrape map[string]*dto.MetricFamily

// scrapeMetrics asks a stage that cannot be measured from /proc. With several processes each answer is that of another
// one, so only a stage of a single process is asked.
func scrapeMetrics(ctx context.Context, target Target) scrape {
	if target.Health == nil || target.Health.Processes != 1 {
		return nil
	}
	families, err := getMetrics(ctx, target.URL+"/metrics")
	if err != nil {
		return nil // figures that are nice to have
	}
	return families
}

func getMetrics(ctx context.Context, url string) (scrape, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: status %d", url, response.StatusCode)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(http.MaxBytesReader(nil, response.Body, 4<<20))
}

// until returns what the process used between two scrapes. Sizes are those of the later one.
func (s scrape) until(later scrape) report.Resources {
	var r report.Resources
	if s == nil || later == nil {
		return r
	}
	r.ProcessesMax = new(int64(1))
	r.CPUSeconds = difference(s, later, "process_cpu_seconds_total", "")
	r.ContextSwitchesVoluntary = count(difference(s, later, "flashsale_context_switches_total", "voluntary"))
	r.ContextSwitchesInvoluntary = count(difference(s, later, "flashsale_context_switches_total", "involuntary"))
	r.OSThreadsMax = count(later.value("go_threads", ""))
	r.GoroutinesMax = count(later.value("go_goroutines", ""))
	r.PSSBytesMax = count(later.value("process_resident_memory_bytes", ""))
	return r
}

// value returns the metric of that name with a label of that value, "" for the one without labels. Nil: there is none.
func (s scrape) value(name, label string) *float64 {
	for _, metric := range s[name].GetMetric() {
		labels := metric.GetLabel()
		if len(labels) == 0 && label != "" || len(labels) > 0 && labels[0].GetValue() != label {
			continue
		}
		switch {
		case metric.Counter != nil:
			return new(metric.Counter.GetValue())
		case metric.Gauge != nil:
			return new(metric.Gauge.GetValue())
		}
	}
	return nil
}

// difference is nil where the counter is missing, or smaller than before: another process answered.
func difference(before, after scrape, name, label string) *float64 {
	from, to := before.value(name, label), after.value(name, label)
	if from == nil || to == nil || *to < *from {
		return nil
	}
	return new(*to - *from)
}

func count(f *float64) *int64 {
	if f == nil {
		return nil
	}
	return new(int64(*f))
}
