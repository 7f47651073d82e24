package main

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/report"
)

// measured returns the ceilings of a result by their names.
func measured(c report.Ceilings) map[string]*report.Sample {
	all := map[string]*report.Sample{
		"http_noop_per_second": c.HTTPNoop, "hot_row_single_per_second": c.HotRowSingle,
		"hot_row_transaction_per_second": c.HotRowTransaction, "hot_row_batch_per_second": c.HotRowBatch,
	}
	for name, sample := range all {
		if sample == nil {
			delete(all, name)
		}
	}
	return all
}

// ceilings is the command "ceilings FILE samples name…": a result.json must have these ceilings, each from so many samples
// (any: however many), and no others.
func ceilings(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: ceilings FILE samples name…")
	}
	result, err := report.Read(ts.MkAbs(args[0]))
	ts.Check(err)
	got := measured(result.Ceilings)
	for _, name := range args[2:] {
		s := got[name]
		if s == nil {
			ts.Fatalf("%s was not measured", name)
		}
		if !(0 < s.Min && s.Min <= s.Median && s.Median <= s.Max) || args[1] != "any" && args[1] != strconv.Itoa(s.Samples) {
			ts.Fatalf("%s: %+v", name, s)
		}
		if http := name == "http_noop_per_second"; http != (s.Connections == nil) {
			ts.Fatalf("%s: best with connections %v", name, s.Connections)
		}
	}
	if len(got) != len(args)-2 {
		ts.Fatalf("other ceilings were measured too: %v", got)
	}
}

// judged is the command "judged FILE guard bound,… name…": the sustained runs with that guard must have ratios to exactly
// the ceilings of these names, and be bounded by one of the bounds.
func judged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: judged FILE guard bound,… name…")
	}
	result, err := report.Read(ts.MkAbs(args[0]))
	ts.Check(err)
	found := false
	for _, run := range result.Runs {
		if string(run.Guard) != args[1] || run.Workload != string(attack.Sustained) {
			continue
		}
		found = true
		var names []string
		for _, c := range run.Ceilings {
			names = append(names, c.Name)
			checkRatio(ts, run, c)
		}
		if !slices.Equal(names, args[3:]) {
			ts.Fatalf("judged by %v", names)
		}
		checkBound(ts, run, strings.Split(args[2], ","))
	}
	if !found {
		ts.Fatalf("no sustained run with guard %s", args[1])
	}
}

func checkRatio(ts *testscript.TestScript, run report.Run, c report.CeilingRatio) {
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Abs(b) }
	low, high := min(c.BeforePerSecond, c.AfterPerSecond), max(c.BeforePerSecond, c.AfterPerSecond)
	rate := run.OrdersPerSecond
	if low <= 0 || c.Ratio <= 0 || !near(c.Ratio, rate/((low+high)/2)) || !near(c.RatioMin, rate/high) || !near(c.RatioMax, rate/low) {
		ts.Fatalf("%v orders/s, but %+v", rate, c)
	}
}

// checkBound: the bound is the lowest of those that apply.
func checkBound(ts *testscript.TestScript, run report.Run, bounds []string) {
	if run.Ceiling == nil || !slices.Contains(bounds, run.Ceiling.Name) || !slices.Contains(run.Ceilings, *run.Ceiling) {
		ts.Fatalf("bounded by %+v", run.Ceiling)
	}
	for _, c := range run.Ceilings {
		if slices.Contains(bounds, c.Name) && c.Mean() < run.Ceiling.Mean() {
			ts.Fatalf("bounded by %+v, but %s is lower", run.Ceiling, c.Name)
		}
	}
}

func TestStageEnv(t *testing.T) {
	env, err := parseStageEnv([]string{"QUEUE_CAP=2000", "B=x=y"})
	if err != nil || strings.Join(env.settings(), " ") != "B=x=y QUEUE_CAP=2000" {
		t.Errorf("%v, %v", env, err)
	}
	if env, err := parseStageEnv(nil); env != nil || err != nil || env.describe() != "" {
		t.Errorf("nothing: %v, %v", env, err)
	}
	for pair, want := range map[string]string{
		"QUEUE_CAP": "use KEY=VALUE", "=3": "use KEY=VALUE", "QUEUE_CAP=": "use KEY=VALUE", "queue=3": "use KEY=VALUE",
		"GUARD=none": "--guards", "DB_CONNS=3": "--db-conns", "ADDR=:80": "free port",
	} {
		if _, err := parseStageEnv([]string{pair}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", pair, err)
		}
	}
	if _, err := parseStageEnv([]string{"A=1", "A=2"}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("twice: %v", err)
	}
}

func TestPlan(t *testing.T) {
	plan := func(cmd compareCmd) string {
		c := &comparison{compareCmd: &cmd, stages: []string{"a", "b"}}
		var out []string
		for _, s := range c.plan() {
			text := s.stage + ":" + s.guard
			for _, workload := range s.workloads {
				text += " " + string(workload)
			}
			out = append(out, text)
		}
		return strings.Join(out, ", ")
	}
	for want, cmd := range map[string]compareCmd{
		"a:none flash-sale, a: flash-sale sustained, b:none flash-sale, b: flash-sale sustained": {Workload: "both", Repeat: 1},
		"a:none flash-sale, a: flash-sale, b:none flash-sale, b: flash-sale":                     {Workload: "flash-sale", Repeat: 1},
		"a: sustained, b: sustained, a: sustained, b: sustained":                                 {Workload: "sustained", Repeat: 2},
		"a:x sustained, a:y sustained, b:x sustained, b:y sustained":                             {Workload: "sustained", Repeat: 1, Guards: []string{"x", "y"}},
	} {
		if got := plan(cmd); got != want {
			t.Errorf("%+v:\n got %s\nwant %s", cmd, got, want)
		}
	}
}
