package report

import (
	"fmt"
	"slices"
	"strings"

	"example.com/flashsale/loadtest/audit"
)

// Exit codes of the commands that measure.
const (
	ExitOK         = 0 // all as expected
	ExitFailed     = 1 // the run itself failed
	ExitUsage      = 2 // wrong flags, or something that must be there is not
	ExitUnexpected = 3 // orders or stock are not right where they should be, or a broken guard passed where proof was asked for
	ExitThreshold  = 4 // a threshold was missed, no rate was held, or another promise or a rule of the contract is broken
	ExitVoid       = 5 // the generator could not keep the schedule, so the figures are void
)

// finding is what one run says about its guard.
type finding uint8

const (
	notAudited   finding = iota
	safeHeld             // should be safe, and was
	safeFailed           // should be safe, and was not
	brokenShown          // should lose stock updates, and did
	brokenPassed         // should lose stock updates, and did not this time
	ordersWrong          // lost, phantom, duplicate, foreign or mismatched orders: no guard may do that
	unsettled            // the database never came to rest: never a pass
)

// Judgement says whether a result is what theory expects.
type Judgement struct {
	OK        bool
	ExitCode  int      // ExitOK, ExitFailed when it is not complete, ExitUnexpected, ExitVoid or ExitThreshold
	Headline  string   // one sentence
	Sentences []string // what supports it: first what went wrong, then what was expected to
}

// Judge compares every run with what theory says of its guard. It trusts only the audits: a run without one counts
// as neither good nor bad, and a target of which theory says nothing must be safe.
func Judge(r *Result) Judgement {
	if len(r.Rules) > 0 {
		return judgeRules(r)
	}
	if len(r.Runs) == 0 && len(r.Faults) > 0 {
		return judgeFaults(r)
	}
	if len(r.Runs) == 0 && r.Ceilings.Any() {
		return judgeCeilings(r)
	}
	if len(r.Runs) == 0 {
		return Judgement{ExitCode: ExitFailed, Headline: "Nothing was measured."}
	}
	unexpected, void, missed := unexpectedRuns(r), len(voidRuns(r)) > 0, append(missedThresholds(r), describeUnheld(r)...)
	j := Judgement{OK: len(unexpected) == 0 && !void && len(missed) == 0 && !r.Incomplete, ExitCode: ExitOK, Headline: headline(r, len(unexpected))}
	switch {
	case r.Incomplete:
		j.ExitCode = ExitFailed
	case len(unexpected) > 0: // what was sold is true even where the speed is not
		j.ExitCode = ExitUnexpected
	case void:
		j.ExitCode = ExitVoid
	case len(missed) > 0:
		j.ExitCode = ExitThreshold
	}
	j.Sentences = append(describeVoid(r), missed...)
	for _, i := range unexpected {
		j.Sentences = append(j.Sentences, describeFailure(&r.Runs[i]))
	}
	j.Sentences = append(j.Sentences, describeOverload(r)...)
	j.Sentences = append(j.Sentences, describeCapacities(r)...)
	j.Sentences = append(j.Sentences, describeExpected(r)...)
	j.Sentences = append(j.Sentences, describeUnanswered(r)...)
	if len(r.Thresholds) > 0 && len(missedThresholds(r)) == 0 {
		j.Sentences = append(j.Sentences, thresholdsMet(r))
	}
	return j
}

// judgeCeilings judges ceilings that were measured alone.
func judgeCeilings(r *Result) Judgement {
	j := Judgement{OK: true, Headline: "The ceilings of this machine. No stage was judged, and nothing was audited."}
	switch missed := missedThresholds(r); {
	case len(missed) > 0:
		j = Judgement{ExitCode: ExitThreshold, Headline: "The ceilings of this machine: a threshold was missed.", Sentences: missed}
	case len(r.Thresholds) > 0:
		j.Sentences = []string{thresholdsMet(r)}
	}
	return j
}

func thresholdsMet(r *Result) string {
	return "Thresholds met: " + printable(list(r.Thresholds, "and")) + "."
}

// describeUnanswered tells of users who left a flash sale without an answer.
func describeUnanswered(r *Result) (sentences []string) {
	for i := range r.Runs {
		if run := &r.Runs[i]; run.UsersUnanswered != nil && *run.UsersUnanswered > 0 {
			sentences = append(sentences, fmt.Sprintf("%s: %d of %d users got no answer to their last request (%s).",
				run.place(), *run.UsersUnanswered, run.Settings.Users, codeCounts(run.UnknownByCode, run.FailedByCode)))
		}
	}
	return sentences
}

// find classifies one run.
func find(run *Run) finding {
	a := run.Audit
	switch {
	case a == nil:
		return notAudited
	case a.Verdict == audit.Unsettled:
		return unsettled
	case !run.broken() && a.Verdict == audit.OK:
		return safeHeld
	case !run.broken():
		return safeFailed
	case ordersOff(a) > 0:
		return ordersWrong
	case a.Verdict == audit.OK:
		return brokenPassed
	default:
		return brokenShown
	}
}

func (run *Run) broken() bool { return run.Expected == Broken }

// ordersOff counts the orders that differ between clients and database.
func ordersOff(a *audit.Report) int64 {
	return a.LostOrders + a.PhantomOrders + a.DuplicateOrders + a.ForeignOrders + a.MismatchedOrders
}

// unexpectedRuns returns the indexes of the runs that theory does not expect.
func unexpectedRuns(r *Result) []int {
	var at []int
	for i := range r.Runs {
		switch find(&r.Runs[i]) {
		case safeFailed, ordersWrong, unsettled:
			at = append(at, i)
		case brokenPassed:
			if r.ExpectBroken && !shownElsewhere(r, &r.Runs[i]) {
				at = append(at, i)
			}
		}
	}
	return at
}

// shownElsewhere says whether another run of the same stage and guard proved the guard broken: one proof is enough.
func shownElsewhere(r *Result, run *Run) bool {
	return slices.ContainsFunc(r.Runs, func(other Run) bool {
		return other.Stage == run.Stage && other.Guard == run.Guard && find(&other) == brokenShown
	})
}

func headline(r *Result, unexpected int) string {
	what := count(len(r.Runs), "run")
	if stages := distinct(r.Runs, func(run *Run) string { return run.place() }); len(stages) > 1 {
		what = count(len(stages), "stage") + ", " + what
	}
	if r.Incomplete {
		what += " (not complete)"
	}
	audited := 0
	for i := range r.Runs {
		if r.Runs[i].Audit != nil {
			audited++
		}
	}
	switch {
	case unexpected > 0 && len(r.Runs) == 1:
		return what + ": not as expected."
	case unexpected > 0:
		return fmt.Sprintf("%s: %d not as expected.", what, unexpected)
	case len(voidRuns(r)) > 0:
		return what + ": void. The generator could not keep the schedule."
	case len(missedThresholds(r)) > 0:
		return what + ": a threshold was missed."
	case len(unheld(r)) > 0:
		return what + ": an objective was not held at any rate."
	case audited == 0:
		return what + ": measured, but not audited. This says nothing about overselling."
	case len(r.Runs) == 1:
		return what + ": as expected."
	default:
		return what + ": all as expected."
	}
}

// describeFailure says what is wrong with a run that unexpectedRuns named.
func describeFailure(run *Run) string {
	switch a := run.Audit; find(run) {
	case unsettled:
		return run.Name() + ": the database did not come to rest in time, so nothing can be said. Never a pass."
	case ordersWrong:
		return fmt.Sprintf("%s: %s. A broken guard may lose stock updates, but never orders.", run.Name(), problems(a))
	case brokenPassed:
		return run.Name() + ": passed, but proof was asked for that this guard is broken here. Try more users or more repeats."
	default:
		should := "this guard should be safe here"
		if run.Expected == "" {
			should = "every service should keep its stock"
		}
		return fmt.Sprintf("%s: %s, although %s.", run.Name(), problems(a), should)
	}
}

// describeExpected summarises the runs that are as theory says, apart from those that simply held.
func describeExpected(r *Result) []string {
	var out []string
	if held := runsWith(r, safeHeld); len(held) > 0 {
		out = append(out, fmt.Sprintf("%s with a guard that should be safe passed the audit.", count(len(held), "run")))
	}
	if s := describeBroken(r); s != "" {
		out = append(out, s)
	}
	if lucky := runsWith(r, brokenPassed); len(lucky) > 0 && !r.ExpectBroken {
		out = append(out, fmt.Sprintf("%s with a broken guard passed (%s): luck, not safety.", count(len(lucky), "run"), places(lucky)))
	}
	if silent := runsWith(r, notAudited); len(silent) > 0 && len(silent) < len(r.Runs) {
		out = append(out, fmt.Sprintf("%s not audited (%s).", were(len(silent)), places(silent)))
	}
	return out
}

// describeBroken says which broken guards did what theory expects of them.
func describeBroken(r *Result) string {
	shown := runsWith(r, brokenShown)
	if len(shown) == 0 {
		return ""
	}
	oversold := 0
	for _, run := range shown {
		if run.Audit.Oversold > 0 {
			oversold++
		}
	}
	var what []string
	if oversold > 0 {
		what = append(what, count(oversold, "run")+" oversold")
	}
	if rest := len(shown) - oversold; rest > 0 {
		what = append(what, count(rest, "run")+" lost track of the stock without selling out")
	}
	return fmt.Sprintf("%s, as expected of %s.", strings.Join(what, " and "), places(shown))
}

// problems lists what an audit found, in the order in which it matters.
func problems(a *audit.Report) string {
	var undersold int64
	if a.Undersold != nil {
		undersold = *a.Undersold
	}
	var out []string
	for _, p := range []struct {
		n    int64
		text string
	}{
		{a.Oversold, "oversold by %d"},
		{a.LostOrders, "%d accepted orders are not in the database"},
		{a.PhantomOrders, "%d orders are in the database that were refused"},
		{a.DuplicateOrders, "%d orders are duplicates"},
		{a.ForeignOrders, "%d orders were never asked for"},
		{a.MismatchedOrders, "%d orders differ from their receipts"},
		{undersold, "undersold by %d"},
	} {
		if p.n != 0 {
			out = append(out, fmt.Sprintf(p.text, p.n))
		}
	}
	if a.StockDrift != a.Oversold { // what was sold above the stock is known already
		out = append(out, fmt.Sprintf("sold + left differs from the initial stock by %+d", a.StockDrift))
	}
	if len(out) == 0 {
		return "verdict " + string(a.Verdict)
	}
	return strings.Join(out, ", ")
}

// Name says which run this is: stage, guard, workload, and in the open model the rate.
func (run *Run) Name() string {
	full := run.place()
	if run.Guard != "" {
		full += ", guard " + name(string(run.Guard))
	}
	full += ", " + name(run.Workload)
	if run.Settings.RatePerSecond != nil {
		full += " at " + ratesText(run) + "/s"
	}
	return full
}

// place is the stage, or the target where that is no stage.
func (run *Run) place() string {
	if run.Stage == "" {
		return name(run.Target)
	}
	return name(string(run.Stage))
}

// places says in which stages which guards ran: "guard none in stage2-multiproc and stage3-threads".
func places(runs []*Run) string {
	var out []string
	for _, guard := range distinct(runs, func(run **Run) string { return string((*run).Guard) }) {
		here := slices.DeleteFunc(slices.Clone(runs), func(run *Run) bool { return string(run.Guard) != guard })
		where := list(distinct(here, func(run **Run) string { return (*run).place() }), "and")
		if guard != "" {
			where = "guard " + name(guard) + " in " + where
		}
		out = append(out, where)
	}
	return strings.Join(out, ", ")
}

func runsWith(r *Result, f finding) []*Run {
	var out []*Run
	for i := range r.Runs {
		if find(&r.Runs[i]) == f {
			out = append(out, &r.Runs[i])
		}
	}
	return out
}

// distinct returns the different values of key, in the order in which they first appear.
func distinct[T any](items []T, key func(*T) string) []string {
	var out []string
	for i := range items {
		if k := key(&items[i]); !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// list joins names as in a sentence: "a, b and c".
func list(names []string, last string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	end := len(names) - 1
	return strings.Join(names[:end], ", ") + " " + last + " " + names[end]
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func were(n int) string {
	if n == 1 {
		return "1 run was"
	}
	return fmt.Sprintf("%d runs were", n)
}
