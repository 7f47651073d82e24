package report

import (
	"strings"
	"testing"

	"example.com/flashsale/loadtest/audit"
)

func TestJudge(t *testing.T) {
	oversold := audit.Report{Initial: 100, Sold: 103, Oversold: 3, StockDrift: 3, Verdict: audit.Oversold}
	drifted := audit.Report{Initial: 100, Sold: 90, Left: 20, StockDrift: 10, Verdict: audit.Inconsistent}
	lost := audit.Report{Initial: 100, Sold: 100, LostOrders: 1, Verdict: audit.Inconsistent}
	undersold := audit.Report{Initial: 100, Sold: 99, Left: 1, Undersold: new(int64(1)), Verdict: audit.Undersold}
	good := audit.Report{Initial: 100, Sold: 100, Verdict: audit.OK}
	open := audit.Report{Initial: 100, Sold: 100, Verdict: audit.Unsettled}
	run := func(expected Text, a audit.Report) Run {
		return fixtureRun("stage2-multiproc", "mutex", expected, FlashSale, a)
	}
	unaudited := run(Safe, good)
	unaudited.Audit = nil

	tests := []struct {
		name         string
		runs         []Run
		expectBroken bool
		code         int
		says         []string
	}{
		{"nothing ran", nil, false, ExitFailed, []string{"Nothing was measured"}},
		{"safe and ok", []Run{run(Safe, good)}, false, ExitOK, []string{"1 run: as expected.", "1 run with a guard that should be safe passed the audit."}},
		{"safe and oversold", []Run{run(Safe, oversold)}, false, ExitUnexpected, []string{"1 run: not as expected.", "oversold by 3", "should be safe here"}},
		{"safe and undersold", []Run{run(Safe, undersold)}, false, ExitUnexpected, []string{"undersold by 1"}},
		{"safe and lost", []Run{run(Safe, lost)}, false, ExitUnexpected, []string{"1 accepted orders are not in the database"}},
		{"safe and unsettled", []Run{run(Safe, open)}, false, ExitUnexpected, []string{"did not come to rest"}},
		{"broken and oversold", []Run{run(Broken, oversold)}, false, ExitOK, []string{"1 run oversold, as expected of guard mutex in stage2-multiproc."}},
		{"broken and drifted", []Run{run(Broken, drifted)}, false, ExitOK, []string{"lost track of the stock", "as expected of guard mutex"}},
		{"broken and ok", []Run{run(Broken, good)}, false, ExitOK, []string{"luck, not safety"}},
		{"broken and ok, proof wanted", []Run{run(Broken, good)}, true, ExitUnexpected, []string{"proof was asked for"}},
		{"one proof is enough", []Run{run(Broken, good), run(Broken, oversold)}, true, ExitOK, []string{"2 runs: all as expected."}},
		{"broken and lost", []Run{run(Broken, lost)}, false, ExitUnexpected, []string{"never orders"}},
		{"broken and unsettled", []Run{run(Broken, open)}, false, ExitUnexpected, []string{"did not come to rest"}},
		{"foreign and oversold", []Run{run("", oversold)}, false, ExitUnexpected, []string{"every service should keep its stock"}},
		{"foreign and ok", []Run{run("", good)}, true, ExitOK, nil},
		{"not audited", []Run{unaudited}, true, ExitOK, []string{"says nothing about overselling"}},
		{"partly audited", []Run{unaudited, run(Safe, good)}, false, ExitOK, []string{"1 run was not audited (guard mutex in stage2-multiproc)."}},
	}
	incomplete := Judge(&Result{Runs: []Run{run(Safe, good)}, Incomplete: true})
	if incomplete.OK || incomplete.ExitCode != ExitFailed || incomplete.Headline != "1 run (not complete): as expected." {
		t.Errorf("not complete: %+v", incomplete)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			j := Judge(&Result{Runs: test.runs, ExpectBroken: test.expectBroken})
			if j.ExitCode != test.code || j.OK != (test.code == ExitOK) {
				t.Errorf("exit code %d, ok %v; want %d", j.ExitCode, j.OK, test.code)
			}
			text := j.Headline + " " + strings.Join(j.Sentences, " ")
			for _, s := range test.says {
				if !strings.Contains(text, s) {
					t.Errorf("%q is not in %q", s, text)
				}
			}
		})
	}
}

// TestUsersWithoutAnswer: they are told of, and are no failure of the guard.
func TestUsersWithoutAnswer(t *testing.T) {
	r := fixture()
	r.Runs[0].UsersUnanswered, r.Runs[0].UnknownByCode = new(int64(3)), map[string]int64{"client_timeout": 3}
	before := Judge(fixture())
	after := Judge(r)
	if after.ExitCode != before.ExitCode || !strings.Contains(strings.Join(after.Sentences, "\n"), "3 of 64 users got no answer to their last request (client_timeout 3") {
		t.Errorf("%d, %q", after.ExitCode, after.Sentences)
	}
}
