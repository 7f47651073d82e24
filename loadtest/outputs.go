package main

import (
	"slices"
	"strings"

	"example.com/flashsale/loadtest/report"
)

// reportFlags say what a measurement must meet and in which forms it is written.
type reportFlags struct {
	Threshold []string `group:"Report" placeholder:"T" help:"What each sustained run with a safe guard (without any, each flash sale) must meet, as in 'p99<50ms', 'failed<0.1%', 'orders_per_second>1000'; may be repeated. Exit code 4 when one is missed."`
	Outputs   []string `group:"Report" default:"json,md,html" placeholder:"FORM" help:"What to write: json, md, html, csv (time series), hlog (HdrHistogram logs), junit (for CI). Default: ${default}."`
}

// checkReport refuses what cannot be read.
func (f *reportFlags) checkReport() error {
	for _, text := range f.Threshold {
		if _, err := report.ParseThreshold(text); err != nil {
			return usagef("--%w", err)
		}
	}
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
	for _, text := range f.Threshold {
		t, _ := report.ParseThreshold(text) // checked
		result.Thresholds = append(result.Thresholds, t.Text)
	}
	out.forms = f.Outputs
}
