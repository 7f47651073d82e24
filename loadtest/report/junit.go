package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"
)

// JUnit writes r to w for continuous integration: one test case per run, capacity, fault and rule. It fails when the run is not as theory expects,
// misses a threshold or is void, and is skipped when nobody audited it and no threshold judged it. What stopped the
// whole measurement is a case of its own.
func JUnit(w io.Writer, r *Result) error {
	suite := junit.Testsuite{Name: "loadtest"}
	suite.SetTimestamp(r.StartedAt)
	suite.AddProperty("command", printable(r.Command))
	suite.AddProperty("commit", printable(string(r.Commit)))
	unexpected := unexpectedRuns(r)
	var total float64
	seen := map[string]int{}
	for i := range r.Runs {
		run := &r.Runs[i]
		c := junit.Testcase{Name: run.Name(), Classname: "loadtest." + name(run.Workload), Time: seconds(run.ElapsedSeconds)}
		if seen[c.Name]++; seen[c.Name] > 1 {
			c.Name += fmt.Sprintf(" #%d", seen[c.Name])
		}
		c.Failure, c.Skipped = outcomeOf(r, run, slices.Contains(unexpected, i))
		suite.AddTestcase(c)
		total += run.ElapsedSeconds
	}
	for _, c := range otherCases(r) {
		suite.AddTestcase(c)
	}
	for i := range r.Rules {
		suite.AddTestcase(ruleCase(&r.Rules[i]))
	}
	if r.Incomplete {
		message := "the measurement is not complete"
		if len(r.Notes) > 0 {
			message = printable(strings.Join(r.Notes, " "))
		}
		suite.AddTestcase(junit.Testcase{Name: "all runs", Classname: "loadtest", Time: seconds(0), Error: &junit.Result{Message: message}})
	}
	suite.Time = seconds(total)
	var suites junit.Testsuites
	suites.AddSuite(suite)
	return suites.WriteXML(w)
}

// outcomeOf says why the case of a run fails or is skipped; both are nil when it passes.
func outcomeOf(r *Result, run *Run, unexpected bool) (failure, skipped *junit.Result) {
	var why []string
	if unexpected {
		why = append(why, describeFailure(run))
	}
	if run.VoidReason != "" {
		why = append(why, "VOID: "+printable(string(run.VoidReason)))
	}
	why = append(why, r.missedBy(run)...)
	if len(why) > 0 {
		return &junit.Result{Message: why[0], Type: "loadtest", Data: strings.Join(why, "\n")}, nil
	}
	judged := limits(r, runMetrics) && r.judgedByThresholds(run)
	if run.Audit == nil && !judged {
		return nil, &junit.Result{Message: "measured, but not audited"}
	}
	return nil, nil
}

// otherCases are the capacities, the faults, the ceilings where they were measured alone or have a threshold, and the
// thresholds that no run could be judged by. Each fails when it misses a threshold; a capacity also when no rate was held,
// a fault when a promise was not kept.
func otherCases(r *Result) []junit.Testcase {
	var out []junit.Testcase
	add := func(class, name string, problems []string) {
		c := junit.Testcase{Name: name, Classname: "loadtest." + class, Time: seconds(0)}
		if len(problems) > 0 {
			c.Failure = &junit.Result{Message: printable(problems[0]), Type: "loadtest", Data: printable(strings.Join(problems, "; "))}
		}
		out = append(out, c)
	}
	for i := range r.Capacities {
		c := &r.Capacities[i]
		problems := missedOf(r, capacityMetrics, c)
		if c.RatePerSecond == 0 {
			problems = append(problems, c.Objective+" was not held at any rate")
		}
		add("capacity", c.place()+", capacity", problems)
	}
	for i := range r.Faults {
		f := &r.Faults[i]
		problems := f.Problems
		if f.Lost() && len(problems) == 0 {
			problems = []string{"verdict " + f.Verdict}
		}
		add("chaos", name(f.Stage)+", "+name(f.Fault), problems)
	}
	if len(r.Runs) == 0 && r.Ceilings.Any() || limits(r, ceilingMetrics) {
		add("ceilings", "ceilings", missedOf(r, ceilingMetrics, &r.Ceilings))
	}
	if slices.Contains(missedThresholds(r), noRunJudged) {
		add("thresholds", "thresholds", []string{noRunJudged})
	}
	return out
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }
