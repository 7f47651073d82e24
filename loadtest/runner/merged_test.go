package runner

import (
	"testing"

	"example.com/flashsale/loadtest/report"
)

// Each generator may have seen the whole stage, none of it, or some figures: the highest counts, and unknown is not 0.
func TestLargestResources(t *testing.T) {
	r := largest([]report.Run{
		{Resources: report.Resources{OSThreadsMax: new(int64(9)), CPUSeconds: new(1.5), ContextSwitchesPerOrder: new(7.0)}},
		{},
		{Resources: report.Resources{OSThreadsMax: new(int64(12)), CPUSeconds: new(1.25), PSSBytesMax: new(int64(0))}},
	})
	if *r.OSThreadsMax != 12 || *r.CPUSeconds != 1.5 || *r.PSSBytesMax != 0 {
		t.Errorf("%+v", r)
	}
	if r.ProcessesMax != nil || r.DBConnectionsMax != nil || r.ContextSwitchesPerOrder != nil {
		t.Errorf("%+v: what nobody measured is unknown, and what an order costs is another matter", r)
	}
	if r := largest([]report.Run{{}, {}}); r != (report.Resources{}) {
		t.Errorf("%+v", r)
	}
}
