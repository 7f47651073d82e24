package runner

import (
	"context"
	"fmt"
)

// checkFiles returns an error when the stage may not open a connection for each user. Otherwise those that it cannot
// accept would wait in the kernel and look like a slow stage. Nothing is known of a target that is no stage, nor of one
// that does not say.
func (t Target) checkFiles(ctx context.Context, users int) error {
	if t.Health == nil {
		return nil
	}
	families, err := getMetrics(ctx, t.URL+"/metrics")
	if err != nil {
		return nil //nolint:nilerr // a run may do without the figures
	}
	var most, open float64
	processes := families["process_max_fds"].GetMetric()
	for _, m := range processes {
		most += m.GetGauge().GetValue()
	}
	for _, m := range families["process_open_fds"].GetMetric() {
		open += m.GetGauge().GetValue()
	}
	if most == 0 || float64(users) <= most-open {
		return nil
	}
	where := ""
	if len(processes) > 1 {
		where = fmt.Sprintf(", in its %d processes together", len(processes))
	}
	return fmt.Errorf("the stage may open at most %.0f files%s, and each of %d users needs a connection: "+
		"raise the limit where the stage is started (ulimit -n), or take fewer users", most, where, users)
}
