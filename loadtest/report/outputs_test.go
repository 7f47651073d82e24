package report

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/jstemmer/go-junit-report/v2/junit"

	"example.com/flashsale/loadtest/audit"
)

func TestWriteOutputs(t *testing.T) {
	for name, r := range map[string]*Result{"full": drawnFixture(), "evil": evilFixture(), "empty": {}} {
		dir := t.TempDir()
		files, err := WriteOutputs(dir, r, Outputs)
		if err != nil {
			t.Fatal(name, err)
		}
		want := append([]string{"result.json", "report.md", "report.html", "series.csv"}, make([]string, len(r.Runs))...)
		for i := range r.Runs {
			want[4+i] = histogramFile(r, i)
		}
		if want = append(want, "junit.xml"); !slices.Equal(files, want) {
			t.Errorf("%s: files %q, want %q", name, files, want)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != len(want) {
			t.Errorf("%s: %v in the folder, %v", name, entries, err)
		}
	}
	if name := histogramFile(drawnFixture(), 1); name != "02-stage2-multiproc-none-flash-sale.hlog" {
		t.Error(name)
	}
	if _, err := WriteOutputs(t.TempDir(), fixture(), []string{"pdf"}); err == nil || !strings.Contains(err.Error(), `no output "pdf": use json, md`) {
		t.Error(err)
	}
}

func TestCSVHasARowPerInterval(t *testing.T) {
	r := drawnFixture()
	r.Runs[0].Stage = "=1+2"
	var b bytes.Buffer
	if err := CSV(&b, r); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1+6*len(r.Runs) {
		t.Fatalf("%d rows", len(rows))
	}
	at := func(row int, column string) string { return rows[row][slices.Index(rows[0], column)] }
	if at(1, "run") != "1" || at(1, "stage") != "'=1+2" || at(2, "t_seconds") != "1" || at(1, "accepted") != "16" || at(1, "p99_ms") != "" || at(1, "stock_left") != "84" {
		t.Errorf("%q", rows[1])
	}
}

func TestHistogramLogCanBeRead(t *testing.T) {
	r := &Result{StartedAt: fixture().StartedAt, Runs: []Run{{
		Stage: "s", Workload: Sustained, Series: []Point{{Seconds: 1}, {TSeconds: 1, Seconds: 0.5}},
		LatenciesUS: [][]uint32{{1000, 2000, 3000}, {}},
	}}}
	var b bytes.Buffer
	if err := histogramLog(0)(&b, r); err != nil {
		t.Fatal(err)
	}
	reader := hdrhistogram.NewHistogramLogReader(&b)
	var got []*hdrhistogram.Histogram
	for {
		h, err := reader.NextIntervalHistogram()
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if h == nil {
			break
		}
		got = append(got, h)
	}
	if len(got) != 2 || got[0].TotalCount() != 3 || got[0].ValueAtQuantile(50) != 2000 || got[1].TotalCount() != 0 {
		t.Errorf("%v", got)
	}
}

func TestJUnit(t *testing.T) {
	r := fixture()
	r.Thresholds = []string{"p50<1ms"}
	r.Runs[0].Audit = &audit.Report{Initial: 100, Sold: 103, Oversold: 3, StockDrift: 3, Verdict: audit.Oversold}
	r.Runs = append(r.Runs, r.Runs[2])
	r.Runs[2].Audit = nil
	r.Incomplete, r.Notes = true, []string{"Not complete: interrupted."}
	path := filepath.Join(t.TempDir(), "junit.xml")
	if err := replace(path, func(w io.Writer) error { return JUnit(w, r) }); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got junit.Testsuites
	if err := xml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 7 || got.Failures != 3 || got.Errors != 1 || got.Skipped != 1 {
		t.Fatalf("%s", text)
	}
	cases := got.Suites[0].Testcases
	if !strings.Contains(cases[0].Failure.Message, "oversold by 3") || cases[1].Failure != nil || cases[2].Skipped == nil ||
		!strings.Contains(cases[3].Failure.Data, "p50 is 812 ms") || !strings.HasSuffix(cases[5].Name, " #2") || cases[6].Error.Message != r.Notes[0] {
		t.Errorf("%s", text)
	}
}
