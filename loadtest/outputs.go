package main

import (
	"cmp"
	"slices"
	"strings"

	"example.com/flashsale/loadtest/report"
)

// reportFlags say what a measurement must meet and in which forms it is written.
type reportFlags struct {
	Threshold []string `group:"Report" placeholder:"T" help:"What each sustained run with a safe guard (without any, each flash sale) must meet, as in 'p99<50ms', 'failed<0.1%', 'orders_per_second>1000'; may be repeated. Exit code 4 when one is missed."`

	outputFlags
}

// outputFlags say in which forms a result is written.
type outputFlags struct {
	Outputs []string `group:"Report" default:"json,md,html" placeholder:"FORM" help:"What to write: json, md, html, csv (time series), hlog (HdrHistogram logs), junit (for CI). Default: ${default}."`
}

// checkReport refuses what cannot be read. A threshold may be about runs, and about what else the command measures.
func (f *reportFlags) checkReport(others ...report.Subject) error {
	return cmp.Or(checkThresholds(f.Threshold, append(others, report.OfRuns)...), f.checkOutputs())
}

// checkThresholds refuses those that cannot be read, or are about something else.
func checkThresholds(thresholds []string, subjects ...report.Subject) error {
	for _, text := range thresholds {
		if _, err := report.ParseThreshold(text, subjects...); err != nil {
			return usagef("--%w", err)
		}
	}
	return nil
}

// checkOutputs refuses forms that there are not.
func (f *outputFlags) checkOutputs() error {
	for _, output := range f.Outputs {
		if !slices.Contains(report.Outputs, output) {
			return usagef("--outputs %q: use %s", output, strings.Join(report.Outputs, ", "))
		}
	}
	if len(f.Outputs) == 0 {
		return usagef("--outputs: name at least one of %s", strings.Join(report.Outputs, ", "))
	}
	return nil
}

// setReport puts the thresholds into a result and the forms into its output folder.
func (f *reportFlags) setReport(result *report.Result, out *output) {
	setThresholds(result, f.Threshold)
	out.forms = f.Outputs
}

// thresholdFlags are those of commands whose thresholds are about more than runs.
type thresholdFlags struct {
	Threshold []string `group:"Report" placeholder:"T" help:"What must be met, as listed above; may be repeated. Exit code 4 when one is missed."`
}

// setThresholds puts thresholds into a result as they are named there.
func setThresholds(result *report.Result, thresholds []string) {
	for _, text := range thresholds {
		result.Thresholds = append(result.Thresholds, strings.ReplaceAll(text, " ", ""))
	}
}
