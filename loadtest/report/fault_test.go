package report

import (
	"bytes"
	"strings"
	"testing"

	"example.com/flashsale/loadtest/audit"
)

// faultsFixture is what became of two stages under some faults.
func faultsFixture() *Result {
	r := fixture()
	r.Command, r.Runs = "loadtest chaos", []Run{}
	for i, stage := range []string{"stage2-multiproc", "stage5-hybrid"} {
		kill := fixtureFault(stage, "kill-worker")
		kill.Times, kill.Retried, kill.Unknown, kill.ByCode = 66, 17, 17, map[string]int64{"reset": 12, "eof": 5}
		kill.RecoveryMS, kill.BootMS = new(49.8), new(31.25)
		hang := fixtureFault(stage, "hang")
		hang.RecoveryMS, hang.LongestWaitMS = new(4407.0), 4439
		balance := fixtureFault(stage, "balance")
		balance.Connections = [][]int{{10, 16, 18, 20}, {30, 34}}[i]
		shared := fixtureFault(stage, "balance-shared")
		shared.Connections = [][]int{{0, 14, 15, 35}, {24, 40}}[i]
		r.Faults = append(r.Faults, kill, hang, balance, shared)
	}
	return r
}

func fixtureFault(stage, fault string) Fault {
	return Fault{
		Stage: stage, Guard: "batch", Fault: fault, Times: 1, Orders: 4292, Requests: 4309, Accepted: 4290, Replayed: 2, ByCode: map[string]int64{},
		CapacityPerSecond: 890, LoadPerSecond: 535, LongestWaitMS: 152, LongestGapMS: 60.5, DBConnectionsMax: new(int64(5)), DBConns: 8,
		Audit:   &audit.Report{Initial: 1_000_000_000, Sold: 4292, Left: 999_995_708, Undersold: new(int64), Verdict: audit.OK},
		Verdict: string(audit.OK), Problems: []string{},
	}
}

func TestFaultsAreJudged(t *testing.T) {
	broken := func(change func(*Result)) *Result {
		r := faultsFixture()
		change(r)
		return r
	}
	lost := func(r *Result) {
		a := &r.Faults[1]
		a.Audit = &audit.Report{Initial: 9, Sold: 8, Left: 1, LostOrders: 2, Verdict: audit.Inconsistent}
		a.Verdict = string(audit.Inconsistent)
	}
	missed := func(r *Result) {
		r.Faults[2].Verdict, r.Faults[2].Problems = Missed, []string{"a worker has no connection: [0 64]"}
	}
	for name, test := range map[string]struct {
		result   *Result
		code     int
		headline string
		sentence string
	}{
		"all well":     {faultsFixture(), ExitOK, "2 stages, 8 faults: nothing lost, doubled or made up; every promise kept.", ""},
		"one lost":     {broken(lost), ExitUnexpected, "after 1 of them orders or stock are not right", "stage2-multiproc, hang: 2 accepted orders are not in the database."},
		"not audited":  {broken(func(r *Result) { r.Faults[0].Audit = nil }), ExitUnexpected, "after 1 of them", "stage2-multiproc, kill-worker: not audited."},
		"one missed":   {broken(missed), ExitThreshold, "nothing lost, but after 1 of them a promise was not kept", "stage2-multiproc, balance: a worker has no connection: [0 64]."},
		"a note":       {broken(func(r *Result) { r.Faults[0].Notes = []string{"the load was 40 %"} }), ExitOK, "every promise kept", "stage2-multiproc, kill-worker: the load was 40 %."},
		"both":         {broken(func(r *Result) { missed(r); lost(r) }), ExitUnexpected, "not right", "a worker has no connection"},
		"not complete": {broken(func(r *Result) { lost(r); r.Incomplete = true }), ExitFailed, "8 faults (not complete): after 1", "2 accepted orders"},
		"broken off":   {broken(func(r *Result) { r.Incomplete = true }), ExitFailed, "8 faults (not complete): nothing lost", ""},
		"one stage":    {broken(func(r *Result) { r.Faults = r.Faults[:1] }), ExitOK, "1 fault: nothing lost", ""},
	} {
		j := Judge(test.result)
		if j.ExitCode != test.code || j.OK != (test.code == ExitOK) || !strings.Contains(j.Headline, test.headline) || !strings.Contains(strings.Join(j.Sentences, "\n"), test.sentence) {
			t.Errorf("%s: %+v", name, j)
		}
	}
}

// What is wrong is marked in each form, and what the stage sends stays inert.
func TestFaultsInEachForm(t *testing.T) {
	r := faultsFixture()
	r.Faults[0].Audit = &audit.Report{Initial: 9, Sold: 8, Left: 1, LostOrders: 2, Verdict: audit.Inconsistent}
	r.Faults[0].Verdict = string(audit.Inconsistent)
	r.Faults[1].Problems, r.Faults[1].Verdict = []string{evil}, Missed
	r.Faults[2].Connections = []int{0, 64}
	var terminal, markdown, page bytes.Buffer
	if err := Terminal(&terminal, r, true); err != nil {
		t.Fatal(err)
	}
	if err := Markdown(&markdown, r); err != nil {
		t.Fatal(err)
	}
	if err := HTML(&page, r); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ form, text, want string }{
		{"terminal", terminal.String(), "\x1b[31minconsistent\x1b[0m"},
		{"terminal", terminal.String(), "Balance: connections that stay open"},
		{"Markdown", markdown.String(), "| **2** | 49.8 |"},
		{"Markdown", markdown.String(), "| one per worker | 64 | 2 | 0, 64 | **0** | 64 | 2.00 |"},
		{"Markdown", markdown.String(), "| one for all | 64 | 4 | 0, 14, 15, 35 | 0 | 35 | 2.41 |"},
		{"Markdown", markdown.String(), "eof 5, reset 12"},
		{"page", page.String(), `<td class="bad">inconsistent</td>`},
		{"page", page.String(), `<h1 class="bad">2 stages, 8 faults: after 1 of them`},
		{"page", page.String(), "4.41 s · missed"},
	} {
		if !strings.Contains(test.text, test.want) {
			t.Errorf("%s: %q is not in\n%s", test.form, test.want, test.text)
		}
	}
	for _, bad := range []string{"<script", "\x1b[31m`", "NaN", "%!"} {
		if strings.Contains(page.String(), bad) || strings.Contains(markdown.String(), bad) {
			t.Errorf("%q got through", bad)
		}
	}
}
