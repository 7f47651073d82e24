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
		for prefix, result := range map[string]*Result{"": fixture(), "evil-": evilFixture()} {
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
	if err := Terminal(&out, fixture(), false); err != nil {
		t.Fatal(err)
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
	for name, want := range map[string]*Result{"full": fixture(), "evil": evilFixture()} {
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
	"expect_broken", "incomplete", "notes", "runs.target", "runs.settings.products", "runs.settings.skew", "runs.unknown_by_code",
	"runs.resources.context_switches_per_order",
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
	r.Runs[0].ServiceTime = &Latency{}
	r.Runs[0].Ceiling = &CeilingRatio{}
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
	for _, key := range []string{"stage", "guard", "expected", "audit", "ceiling", "service_time_ms", "supported_daily_users"} {
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
