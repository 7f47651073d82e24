package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files")

func TestGoldenFiles(t *testing.T) {
	forms := map[string]func(io.Writer, *Result) error{
		"report.md":    Markdown,
		"report.html":  HTML,
		"terminal.txt": func(w io.Writer, r *Result) error { return Terminal(w, r, false) },
		"colour.txt":   func(w io.Writer, r *Result) error { return Terminal(w, r, true) },
	}
	for name, form := range forms {
		for prefix, result := range map[string]*Result{"": fixture(), "evil-": evilFixture(), "ceilings-": ceilingsFixture(), "open-": openFixture(), "faults-": faultsFixture()} {
			t.Run(prefix+name, func(t *testing.T) {
				var got bytes.Buffer
				if err := form(&got, result); err != nil {
					t.Fatal(err)
				}
				compareGolden(t, filepath.Join("testdata", prefix+name), got.Bytes())
			})
		}
	}
}

func compareGolden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; look at it and run the test with -update:\n%s", path, got)
	}
}

func TestNamesFromTheServiceAreInert(t *testing.T) {
	var page, markdown, terminal bytes.Buffer
	for w, form := range map[*bytes.Buffer]func(io.Writer, *Result) error{&page: HTML, &markdown: Markdown} {
		if err := form(w, evilFixture()); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(w.String(), "<script") {
			t.Error("a script element got through")
		}
	}
	if err := Terminal(&terminal, evilFixture(), false); err != nil {
		t.Fatal(err)
	}
	for form, text := range map[string]string{"page": page.String(), "Markdown": markdown.String(), "terminal": terminal.String()} {
		if strings.Contains(text, "\x1b") {
			t.Errorf("an escape sequence got through to the %s", form)
		}
	}
}

func TestPageNeedsNoNetwork(t *testing.T) {
	var page bytes.Buffer
	if err := HTML(&page, fixture()); err != nil {
		t.Fatal(err)
	}
	for _, forbidden := range []string{"<script", "<link", "src=", "url(", "@import"} {
		if strings.Contains(page.String(), forbidden) {
			t.Errorf("the page contains %s", forbidden)
		}
	}
}

func TestTerminalFitsIntoALine(t *testing.T) {
	var out bytes.Buffer
	for _, r := range []*Result{fixture(), faultsFixture()} {
		if err := Terminal(&out, r, false); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(line); n > 160 {
			t.Errorf("%d characters: %s", n, line)
		}
	}
}

func TestSimulatedLatencyIsLabelled(t *testing.T) {
	for _, form := range []func(io.Writer, *Result) error{HTML, Markdown, func(w io.Writer, r *Result) error { return Terminal(w, r, false) }} {
		var out bytes.Buffer
		if err := form(&out, fixture()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "user latency 20 ms (simulated)") {
			t.Errorf("not labelled in\n%s", out.String())
		}
	}
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	for name, want := range map[string]*Result{"full": fixture(), "evil": evilFixture(), "ceilings": ceilingsFixture(), "open": openFixture(), "faults": faultsFixture()} {
		if err := Write(dir, want); err != nil {
			t.Fatal(err)
		}
		got, err := Read(filepath.Join(dir, "result.json"))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %+v, wrote %+v", name, got, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(Files) {
		t.Errorf("%d files in the folder, not %d: %v", len(entries), len(Files), entries)
	}
}

func TestFlashSaleThatRanOutOfTime(t *testing.T) {
	r := fixture()
	if notes := caveats(r); len(notes) > 0 {
		t.Errorf("a sale that sold out: %q", notes)
	}
	r.Runs[0].Audit.Sold, r.Runs[0].Audit.Left = 60, 40
	if notes := caveats(r); len(notes) != 1 || !strings.Contains(notes[0], "stage1-single") {
		t.Errorf("a sale that did not: %q", notes)
	}
}

func TestReadRefusesOtherSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result.json")
	if err := os.WriteFile(path, []byte(`{"schema": 2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "schema 2") {
		t.Errorf("error %v", err)
	}
}

// added are the keys beyond those that the format promises.
var added = []string{
	"runs.users_unanswered",
	"expect_broken", "incomplete", "notes", "thresholds", "runs.target", "runs.settings.products", "runs.settings.skew", "runs.unknown_by_code",
	"runs.resources.context_switches_per_order",
	"ceilings.http_noop_per_second.connections", "ceilings.hot_row_single_per_second.connections",
	"ceilings.hot_row_transaction_per_second.connections", "ceilings.hot_row_batch_per_second.connections",
	"runs.ceiling.before_per_second", "runs.ceiling.after_per_second", "runs.ceilings", "runs.ceilings.name",
	"runs.ceilings.before_per_second", "runs.ceilings.after_per_second",
	"runs.ceilings.ratio", "runs.ceilings.ratio_min", "runs.ceilings.ratio_max", "runs.settings.stage_env",
	"capacities", "capacities.target", "capacities.stage", "capacities.guard", "capacities.objective", "capacities.rate_per_second",
	"capacities.missed_per_second", "capacities.unfinished", "capacities.limited", "capacities.supported_daily_users", "capacities.requests_per_user", "capacities.peak_factor",
	"capacities.formula", "capacities.probes", "capacities.probes.phase", "capacities.probes.rate_per_second", "capacities.probes.seconds",
	"capacities.probes.verdict", "capacities.probes.why", "capacities.probes.orders_per_second", "capacities.probes.p50_ms", "capacities.probes.p99_ms",
	"capacities.probes.failed_share",
	"runs.dropped", "runs.void_reason", "runs.settings.peak_per_second", "runs.settings.profile", "runs.settings.arrivals",
	"runs.generator", "runs.generator.lag_p50_ms", "runs.generator.lag_p99_9_ms", "runs.generator.lag_max_ms", "runs.generator.lag_tolerance_ms",
	"runs.generator.late", "runs.generator.late_share", "runs.generator.cpu_share", "runs.generator.queued",
	"runs.overload", "runs.overload.from_seconds", "runs.overload.seconds", "runs.overload.due", "runs.overload.accepted", "runs.overload.overloaded",
	"runs.overload.overloaded_share", "runs.overload.other", "runs.overload.dropped", "runs.overload.goodput_per_second",
	"runs.overload.goodput_before_per_second", "runs.overload.p99_ms", "runs.overload.before_p99_ms", "runs.overload.before_failed_share",
	"runs.overload.recovered", "runs.overload.recovery_ms",
	"runs.latency_percentiles", "runs.latency_percentiles.percentile", "runs.latency_percentiles.ms",
	"runs.series", "runs.series.t_seconds", "runs.series.seconds", "runs.series.accepted", "runs.series.replayed", "runs.series.rejected",
	"runs.series.failed", "runs.series.unknown", "runs.series.dropped", "runs.series.p50_ms", "runs.series.p99_ms", "runs.series.max_ms",
	"runs.series.in_flight", "runs.series.cpu_cores", "runs.series.pss_bytes", "runs.series.os_threads", "runs.series.goroutines",
	"runs.series.context_switches_per_second", "runs.series.db_connections", "runs.series.db_lock_waits", "runs.series.stock_left",
	"runs.generator_memory_bytes",
}

func TestKeysAreThoseOfTheFormat(t *testing.T) {
	text, err := os.ReadFile("testdata/schema1.json")
	if err != nil {
		t.Fatal(err)
	}
	want := keysOf(t, text)
	for _, key := range added {
		want[key] = true
	}
	r := fixture()
	sample := &Sample{}
	r.Ceilings = Ceilings{sample, sample, sample, sample}
	r.Capacities = []Capacity{{Probes: []Probe{{}}}}
	r.Runs[0].ServiceTime, r.Runs[0].Generator, r.Runs[0].Overload = &Latency{}, &Generator{}, &Overload{}
	r.Runs[0].Ceiling, r.Runs[0].Ceilings = &CeilingRatio{}, []CeilingRatio{{}}
	r.Runs[0].LatencyPercentiles, r.Runs[0].Series = []Percentile{{}}, []Point{{}}
	r.Runs = r.Runs[:1]
	var written bytes.Buffer
	if err := JSON(&written, r); err != nil {
		t.Fatal(err)
	}
	got := keysOf(t, written.Bytes())
	if !maps.Equal(got, want) {
		t.Errorf("keys differ:\n got %v\nwant %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// keysOf returns the paths of all keys, those of all elements of an array under one path.
func keysOf(t *testing.T, text []byte) map[string]bool {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	collectKeys(v, "", keys)
	return keys
}

func collectKeys(v any, path string, keys map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, child := range v {
			p := strings.TrimPrefix(path+"."+key, ".")
			keys[p] = true
			collectKeys(child, p, keys)
		}
	case []any:
		for _, child := range v {
			collectKeys(child, path, keys)
		}
	}
}

func TestUnknownIsNull(t *testing.T) {
	text, err := json.Marshal(Run{})
	if err != nil {
		t.Fatal(err)
	}
	var run map[string]any
	if err := json.Unmarshal(text, &run); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"stage", "guard", "expected", "audit", "ceiling", "ceilings", "service_time_ms", "supported_daily_users"} {
		if v, ok := run[key]; !ok || v != nil {
			t.Errorf("%s is %v", key, v)
		}
	}
	for key, v := range run["resources"].(map[string]any) {
		if v != nil {
			t.Errorf("resources.%s is %v", key, v)
		}
	}
}
