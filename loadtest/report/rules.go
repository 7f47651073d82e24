package report

import (
	"fmt"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"example.com/flashsale/harness/contract"
)

// Rule is a rule of the HTTP contract, and whether a service keeps it.
type Rule struct {
	Name     string             `json:"name"`
	Promise  string             `json:"promise"`
	Outcome  contract.Outcome   `json:"outcome"`  // pass, fail or skipped
	Reason   Text               `json:"reason"`   // skipped only
	Findings []contract.Finding `json:"findings"` // what was asked, wanted and got; nil unless it failed
}

// maxFinding bounds what a table shows of a finding, in characters; result.json has all.
const maxFinding = 100

var ruleColumns = []column{{Title: "rule"}, {Title: "outcome"}, {Title: "promise"}}

var findingColumns = []column{{Title: "rule"}, {Title: "request"}, {Title: "expected"}, {Title: "got"}}

var skippedColumns = []column{{Title: "rule"}, {Title: "why"}}

// ruleTerms explain the tables of rules.
var ruleTerms = []term{
	{"rule", "One promise of openapi.yaml. A service keeps the contract if no rule fails; what was skipped was not looked at."},
	{"skipped", "Cannot be checked here, for the reason that is given: it needs a database, or another rule must hold first. Never a pass."},
}

// ruleGrids are the rules, what differs from them, and what was not looked at.
func ruleGrids(r *Result) []grid {
	rules := grid{Title: "Contract: what openapi.yaml promises", Settings: "asked over HTTP, from outside", Columns: ruleColumns}
	differs := grid{Title: "Contract: what differs", Settings: "long texts are cut; result.json has them", Columns: findingColumns}
	skipped := grid{Title: "Contract: what was not checked", Settings: "never a pass", Columns: skippedColumns}
	for i := range r.Rules {
		rule := &r.Rules[i]
		rules.Rows = append(rules.Rows, []cell{
			{Text: name(rule.Name)}, {Text: name(string(rule.Outcome)), Bad: rule.Outcome == contract.Fail}, {Text: printable(rule.Promise)},
		})
		for _, f := range rule.Findings {
			differs.Rows = append(differs.Rows, []cell{{Text: name(rule.Name)}, {Text: clip(f.Request)}, {Text: clip(f.Want)}, {Text: clip(f.Got), Bad: true}})
		}
		if rule.Outcome == contract.Skipped {
			skipped.Rows = append(skipped.Rows, []cell{{Text: name(rule.Name)}, {Text: printable(string(rule.Reason))}})
		}
	}
	var out []grid
	for _, g := range []grid{rules, differs, skipped} {
		if len(g.Rows) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// clip cuts and cleans what a service said.
func clip(s string) string {
	if runes := []rune(s); len(runes) > maxFinding {
		s = string(runes[:maxFinding-1]) + "…"
	}
	return printable(s)
}

// judgeRules says whether a service keeps the contract. What it sold wrongly in the audited sale weighs more.
func judgeRules(r *Result) Judgement {
	n := map[contract.Outcome]int{}
	var broken []string
	for _, rule := range r.Rules {
		n[rule.Outcome]++
		if rule.Outcome == contract.Fail {
			broken = append(broken, name(rule.Name))
		}
	}
	tally := fmt.Sprintf("%d of %s pass, %d fail, %d skipped", n[contract.Pass], count(len(r.Rules), "rule"), n[contract.Fail], n[contract.Skipped])
	unexpected := unexpectedRuns(r)
	j := Judgement{Headline: "The contract is kept: " + tally + ".", OK: true}
	switch {
	case len(unexpected) > 0:
		j = Judgement{Headline: "The contract is broken: " + tally + ".", ExitCode: ExitUnexpected}
	case len(broken) > 0:
		j = Judgement{Headline: "The contract is broken: " + tally + ".", ExitCode: ExitThreshold}
	case n[contract.Pass] == 0:
		j = Judgement{Headline: "No rule of the contract was checked.", ExitCode: ExitFailed}
	}
	if len(broken) > 0 {
		j.Sentences = append(j.Sentences, "Broken: "+list(broken, "and")+".")
	}
	for _, i := range unexpected {
		j.Sentences = append(j.Sentences, describeFailure(&r.Runs[i]))
	}
	return j
}

// ruleCase is a rule as a test case.
func ruleCase(rule *Rule) junit.Testcase {
	c := junit.Testcase{Name: printable(rule.Name), Classname: "contract", Time: seconds(0)}
	switch rule.Outcome {
	case contract.Fail:
		var all []string
		for _, f := range rule.Findings {
			all = append(all, printable(f.String()))
		}
		c.Failure = &junit.Result{Message: printable(rule.Promise), Type: "contract", Data: strings.Join(all, "\n")}
	case contract.Skipped:
		c.Skipped = &junit.Result{Message: printable(string(rule.Reason))}
	}
	return c
}
