package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"example.com/flashsale/loadtest/report"
)

// output is the folder of a report.
type output struct {
	dir   string   // empty: nothing is written
	forms []string // what is written; nil: json, md and html
}

// openOutput makes the folder before anything is measured, so that a wrong --out costs no time. Empty means
// results/<time>.
func openOutput(dir string, startedAt time.Time) (output, error) {
	if dir == "" {
		dir = filepath.Join("results", startedAt.UTC().Format("20060102T150405Z"))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return output{}, usagef("the report cannot be written: %w; choose another --out", err)
	}
	probe, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return output{}, usagef("the report cannot be written: %w; choose another --out", err)
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return output{dir: dir}, nil
}

// removeIfEmpty removes the folder of a run that came to nothing.
func (o output) removeIfEmpty() { _ = os.Remove(o.dir) }

// finish writes the reports, prints the table and returns the judgement as an exit code.
func (o output) finish(a *app, result *report.Result) error {
	forms := o.forms
	if forms == nil {
		forms = report.Outputs[:len(report.Files)]
	}
	var files []string
	if o.dir != "" {
		var err error
		if files, err = report.WriteOutputs(o.dir, result, forms); err != nil {
			return err
		}
	}
	if err := report.Terminal(a.stdout, result, coloured(a)); err != nil {
		return err
	}
	if paths := o.paths(files); len(paths) > 0 {
		if _, err := fmt.Fprintf(a.stdout, "\nWritten: %s\n", strings.Join(paths, "  ")); err != nil {
			return err
		}
	}
	if code := report.Judge(result).ExitCode; code != report.ExitOK {
		return &exitError{code: code}
	}
	return nil
}

// finishAfter is finish for what failed, where err is not nil, and yet has something to report. It returns err then: what
// failed explains the exit code better than what the audits say.
func (o output) finishAfter(err error, a *app, result *report.Result) error {
	if err != nil {
		result.Incomplete = true
		result.Notes = append(result.Notes, fmt.Sprintf("Not complete: %v.", firstLine(err)))
	}
	return cmp.Or(err, o.finish(a, result))
}

// paths lists what was written. Many histogram logs are one pattern.
func (o output) paths(files []string) []string {
	const logs = "*.hlog"
	var paths []string
	n := 0
	for _, name := range files {
		if filepath.Ext(name) == filepath.Ext(logs) {
			n++
		}
	}
	for _, name := range files {
		if n > 1 && filepath.Ext(name) == filepath.Ext(logs) {
			name = logs
		}
		if path := filepath.Join(o.dir, name); !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// coloured follows https://no-color.org.
func coloured(a *app) bool { return a.getenv("NO_COLOR") == "" && isTerminal(a.stdout) }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// outcome says in one sentence how a command ended, for those who watched it.
func outcome(result *report.Result, err error) string {
	if err != nil {
		return firstLine(err)
	}
	return report.Judge(result).Headline
}
