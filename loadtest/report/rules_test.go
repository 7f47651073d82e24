package report

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"example.com/flashsale/harness/contract"
	"example.com/flashsale/loadtest/audit"
)

func ruleResult(outcomes ...contract.Outcome) *Result {
	r := &Result{Schema: Schema, Notes: []string{}, Runs: []Run{}}
	for i, outcome := range outcomes {
		rule := Rule{Name: "rule-" + string(rune('a'+i)), Promise: "something holds", Outcome: outcome}
		switch outcome {
		case contract.Fail:
			rule.Findings = []contract.Finding{{Request: "GET /" + strings.Repeat("x", 200), Want: "200", Got: evil}}
		case contract.Skipped:
			rule.Reason = "no database"
		}
		r.Rules = append(r.Rules, rule)
	}
	return r
}

func TestRulesAreJudged(t *testing.T) {
	sold := func(verdict audit.Verdict, oversold int64) []Run {
		return []Run{fixtureRun("", "", "", FlashSale, audit.Report{Initial: 50, Sold: 50 + oversold, Oversold: oversold, StockDrift: oversold, Verdict: verdict})}
	}
	const pass, fail, skipped = contract.Pass, contract.Fail, contract.Skipped
	for _, test := range []struct {
		name     string
		outcomes []contract.Outcome
		runs     []Run
		code     int
		want     string
	}{
		{"kept", []contract.Outcome{pass, skipped}, nil, ExitOK, "kept: 1 of 2 rules pass, 0 fail, 1 skipped."},
		{"kept and audited", []contract.Outcome{pass}, sold(audit.OK, 0), ExitOK, "kept: 1 of 1 rule pass"},
		{"broken", []contract.Outcome{pass, fail}, nil, ExitThreshold, "broken: 1 of 2 rules pass, 1 fail"},
		{"oversold", []contract.Outcome{pass, fail}, sold(audit.Oversold, 3), ExitUnexpected, "broken"},
		{"nothing checked", []contract.Outcome{skipped}, nil, ExitFailed, "No rule"},
	} {
		r := ruleResult(test.outcomes...)
		r.Runs = append(r.Runs, test.runs...)
		j := Judge(r)
		if j.ExitCode != test.code || j.OK != (test.code == ExitOK) || !strings.Contains(j.Headline, test.want) {
			t.Errorf("%s: %+v, want code %d and %q", test.name, j, test.code, test.want)
		}
		if broken := strings.Contains(strings.Join(j.Sentences, " "), "Broken: rule-b."); broken != (test.name == "broken" || test.name == "oversold") {
			t.Errorf("%s: %q", test.name, j.Sentences)
		}
	}
}

// What a service answers is shown, but neither obeyed nor in full length.
func TestRulesInTheTerminal(t *testing.T) {
	var b bytes.Buffer
	if err := Terminal(&b, ruleResult(contract.Pass, contract.Fail, contract.Skipped), true); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{"rule-a  pass", "rule-b  \x1b[31mfail\x1b[0m", "rule-c  no database", "GET /xxx", "…"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, strings.Repeat("x", 150)) || strings.Contains(text, "`\x1b[31m") {
		t.Errorf("%q", text)
	}
}

func TestRulesAsTestCases(t *testing.T) {
	var b bytes.Buffer
	if err := JUnit(&b, ruleResult(contract.Pass, contract.Fail, contract.Skipped)); err != nil {
		t.Fatal(err)
	}
	var got junit.Testsuites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 3 || got.Failures != 1 || got.Skipped != 1 || !strings.Contains(got.Suites[0].Testcases[1].Failure.Data, "want 200") {
		t.Errorf("%s", b.Bytes())
	}
}
