package metrics

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
)

// WorkerLabel is the label of series that belong to one process, such as its memory. They are shown side by side; all
// other series are added up.
const WorkerLabel = "worker"

// format is what workers tell each other: quicker to read than text.
var format = expfmt.NewFormat(expfmt.TypeProtoDelim)

func encode(w io.Writer, families []*dto.MetricFamily) error {
	buffered := bufio.NewWriter(w)
	e := expfmt.NewEncoder(buffered, format)
	for _, family := range families {
		if err := e.Encode(family); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

func decode(r io.Reader) ([]*dto.MetricFamily, error) {
	d := expfmt.NewDecoder(r, format)
	var families []*dto.MetricFamily
	for {
		family := &dto.MetricFamily{}
		switch err := d.Decode(family); {
		case errors.Is(err, io.EOF):
			return families, nil
		case err != nil:
			return families, err
		}
		families = append(families, family)
	}
}

// A keep says which series of a family to take.
type keep func(*dto.MetricFamily, *dto.Metric) bool

func keepAll(*dto.MetricFamily, *dto.Metric) bool { return true }

// keepShared takes what does not belong to one process.
func keepShared(_ *dto.MetricFamily, m *dto.Metric) bool {
	return !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == WorkerLabel })
}

// keepSums takes what outlives a process: what only ever grows, over all processes.
func keepSums(f *dto.MetricFamily, m *dto.Metric) bool {
	grows := f.GetType() == dto.MetricType_COUNTER || f.GetType() == dto.MetricType_HISTOGRAM || f.GetType() == dto.MetricType_SUMMARY
	return grows && keepShared(f, m)
}

// total adds families up. One goroutine owns it.
type total struct {
	byName map[string]*sum
}

type sum struct {
	family  *dto.MetricFamily
	byLabel map[string]*dto.Metric
}

func newTotal() *total { return &total{byName: map[string]*sum{}} }

// add adds the kept series. It takes the families over and may change them.
func (t *total) add(families []*dto.MetricFamily, take keep) {
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if take(family, m) {
				t.addOne(family, m)
			}
		}
	}
}

func (t *total) addOne(family *dto.MetricFamily, m *dto.Metric) {
	s := t.byName[family.GetName()]
	if s == nil {
		s = &sum{
			family:  &dto.MetricFamily{Name: family.Name, Help: family.Help, Type: family.Type, Unit: family.Unit},
			byLabel: map[string]*dto.Metric{},
		}
		t.byName[family.GetName()] = s
	}
	if s.family.GetType() != family.GetType() {
		return // another version of the program, in the midst of a reload
	}
	key := labels(m)
	if there := s.byLabel[key]; there == nil {
		s.byLabel[key] = m
	} else {
		merge(there, m)
	}
}

// labels returns the labels of a series, which a registry sorts, as a key.
func labels(m *dto.Metric) string {
	var key strings.Builder
	for _, l := range m.GetLabel() {
		key.WriteString(l.GetName() + "\xff" + l.GetValue() + "\xff")
	}
	return key.String()
}

// merge adds the values of b to a, which has the same labels.
func merge(a, b *dto.Metric) {
	switch {
	case a.Counter != nil && b.Counter != nil:
		a.Counter.Value = proto.Float64(a.Counter.GetValue() + b.Counter.GetValue())
		a.Counter.Exemplar, a.Counter.CreatedTimestamp = nil, nil
	case a.Gauge != nil && b.Gauge != nil:
		a.Gauge.Value = proto.Float64(a.Gauge.GetValue() + b.Gauge.GetValue())
	case a.Untyped != nil && b.Untyped != nil:
		a.Untyped.Value = proto.Float64(a.Untyped.GetValue() + b.Untyped.GetValue())
	case a.Summary != nil && b.Summary != nil: // quantiles cannot be added
		a.Summary = &dto.Summary{
			SampleCount: proto.Uint64(a.Summary.GetSampleCount() + b.Summary.GetSampleCount()),
			SampleSum:   proto.Float64(a.Summary.GetSampleSum() + b.Summary.GetSampleSum()),
		}
	case a.Histogram != nil && b.Histogram != nil:
		mergeHistogram(a.Histogram, b.Histogram)
	}
}

// mergeHistogram adds bucket by bucket. Histograms with other bounds (another version of the program) cannot be added:
// the first one stays.
func mergeHistogram(a, b *dto.Histogram) {
	same := slices.EqualFunc(a.GetBucket(), b.GetBucket(), func(x, y *dto.Bucket) bool { return x.GetUpperBound() == y.GetUpperBound() })
	if !same {
		return
	}
	a.SampleCount = proto.Uint64(a.GetSampleCount() + b.GetSampleCount())
	a.SampleSum = proto.Float64(a.GetSampleSum() + b.GetSampleSum())
	a.CreatedTimestamp = nil
	for i, bucket := range a.GetBucket() {
		bucket.CumulativeCount = proto.Uint64(bucket.GetCumulativeCount() + b.GetBucket()[i].GetCumulativeCount())
		bucket.Exemplar = nil
	}
}

// families returns the sums, sorted by name and labels.
func (t *total) families() []*dto.MetricFamily {
	all := make([]*dto.MetricFamily, 0, len(t.byName))
	for _, s := range t.byName {
		s.family.Metric = make([]*dto.Metric, 0, len(s.byLabel))
		for _, key := range slices.Sorted(maps.Keys(s.byLabel)) {
			s.family.Metric = append(s.family.Metric, s.byLabel[key])
		}
		all = append(all, s.family)
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return all
}
