package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"example.com/flashsale/loadtest/diff"
	"example.com/flashsale/loadtest/report"
)

// diffCmd compares two sides of repeated runs.
type diffCmd struct {
	Before    string  `arg:"" help:"result.json before the change, or a folder with one or with folders of them; several with commas."`
	After     string  `arg:"" help:"The same, after the change."`
	Threshold float64 `default:"5" placeholder:"PERCENT" help:"What may get worse without failing, in percent (${default})."`
	Markdown  bool    `help:"Print a Markdown table."`
}

// Help is the long help text.
func (*diffCmd) Help() string {
	return `For each stage, guard and workload: the medians of both sides with 95 % confidence intervals, the change, and p of the
Mann-Whitney U test. "~" means that the difference may be chance. Exit code 4 when orders/s, p50, p99 or failures are
significantly (p < 0.05) worse, and by more than --threshold percent; guards that are broken are shown, but not judged.
Four runs on each side are the least:

  loadtest compare --repeat 6 --out before
  loadtest compare --repeat 6 --out after
  loadtest diff before after`
}

// Run reads, compares and prints.
func (c *diffCmd) Run(a *app) error {
	if !(c.Threshold >= 0) || math.IsInf(c.Threshold, 1) { // NaN is neither
		return usagef("--threshold %g: use 0 or a positive number of percent", c.Threshold)
	}
	before, err := readResults(c.Before)
	if err != nil {
		return err
	}
	after, err := readResults(c.After)
	if err != nil {
		return err
	}
	found := diff.Compare(before, after, c.Threshold)
	if len(found.Rows) == 0 {
		return usagef("%s and %s have no stage, guard and workload in common", c.Before, c.After)
	}
	if err := c.print(a, found); err != nil {
		return err
	}
	if len(found.Worse()) > 0 {
		return &exitError{code: report.ExitThreshold}
	}
	return nil
}

// readResults reads every result.json that an argument of the command names.
func readResults(argument string) ([]*report.Result, error) {
	var results []*report.Result
	for path := range strings.SplitSeq(argument, ",") {
		files, err := resultFiles(path)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			r, err := report.Read(file)
			if err != nil {
				return nil, usagef("%w", err)
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// resultFiles returns the file itself, the result.json in a folder, or those in the folders in it.
func resultFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, usagef("%s is not there: name a result.json, or a folder with one", path)
	case err != nil:
		return nil, usagef("%w", err)
	case !info.IsDir():
		return []string{path}, nil
	}
	own := filepath.Join(path, report.Files[0])
	if _, err := os.Stat(own); err == nil {
		return []string{own}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, usagef("%w", err)
	}
	var files []string
	for _, entry := range entries {
		file := filepath.Join(path, entry.Name(), report.Files[0])
		if _, err := os.Stat(file); err == nil {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil, usagef("there is no %s in %s, nor in a folder in it", report.Files[0], path)
	}
	return files, nil
}

// print writes the table and what to know of it.
func (c *diffCmd) print(a *app, found diff.Comparison) error {
	t := table.NewWriter()
	style := table.StyleLight // without a frame, as the tables of a report
	style.Options = table.Options{SeparateHeader: true, SeparateColumns: true}
	style.Format.Header = text.FormatDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Box.MiddleVertical, style.Box.MiddleSeparator = "", ""
	t.SetStyle(style)
	t.AppendHeader(table.Row{"run", "figure", "before", "after", "change", "p", ""})
	t.SetColumnConfigs(columnsRight(3, 6))
	last := ""
	for _, row := range found.Rows {
		name := row.Name
		if row.Broken {
			name += " (broken)"
		}
		if name == last && !c.Markdown {
			name = ""
		} else {
			last = name
		}
		t.AppendRow(table.Row{name, strings.TrimSpace(row.Metric + " " + row.Unit), sideText(row.Before), sideText(row.After), changeText(row), fmt.Sprintf("%.3f", row.P), worseText(row, coloured(a))})
	}
	rendered := t.Render
	if c.Markdown {
		rendered = t.RenderMarkdown
	}
	var b strings.Builder
	for line := range strings.SplitSeq(rendered(), "\n") {
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(&b)
	for _, warning := range found.Warnings {
		fmt.Fprintf(&b, "Note: %s\n", warning)
	}
	fmt.Fprintln(&b, conclusion(found, c.Threshold))
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

func columnsRight(from, to int) []table.ColumnConfig {
	var configs []table.ColumnConfig
	for n := from; n <= to; n++ {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	return configs
}

// sideText is the median with its interval, and how many runs it is of.
func sideText(s diff.Side) string {
	if !s.Bounded {
		return fmt.Sprintf("%s (n=%d)", figure(s.Median), s.N)
	}
	return fmt.Sprintf("%s [%s, %s] (n=%d)", figure(s.Median), figure(s.Low), figure(s.High), s.N)
}

func figure(v float64) string {
	if v >= 100 {
		return humanize.Comma(int64(math.Round(v)))
	}
	return fmt.Sprintf("%.3g", v)
}

func changeText(row diff.Row) string {
	switch {
	case !row.Significant:
		return "~"
	case math.IsInf(row.Delta, 1):
		return "from 0"
	}
	return fmt.Sprintf("%+.1f%%", row.Delta)
}

func worseText(row diff.Row, color bool) string {
	switch {
	case !row.Worse:
		return ""
	case color:
		return "\x1b[31mworse\x1b[0m"
	}
	return "worse"
}

// conclusion is the last line.
func conclusion(found diff.Comparison, threshold float64) string {
	worse := found.Worse()
	if len(worse) == 0 {
		return fmt.Sprintf("Nothing is significantly worse by more than %g%%.", threshold)
	}
	var what []string
	for _, row := range worse {
		what = append(what, row.Name+": "+row.Metric)
	}
	return fmt.Sprintf("Significantly worse by more than %g%%: %s.", threshold, strings.Join(what, "; "))
}
