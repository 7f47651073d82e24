package live

import (
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/database"
)

// oversoldState is a run in which all there is to see is seen.
func oversoldState() State {
	b, _ := newTestBoard()
	b.Plan(time.Second, time.Second)
	b.Next("first")
	b.End(Finished{Stage: "stage4-async", Guard: "conditional", Workload: "flash-sale", OrdersPerSecond: 1017, P99MS: new(52.4), Verdict: "ok", Expected: "safe"})
	sale(b, 100)
	for i := range 20 {
		b.Progress(attack.Progress{
			Elapsed: time.Duration(i+1) * 250 * time.Millisecond, Duration: 10 * time.Second, Users: 64, Accepted: int64(10 * i), Rejected: 64,
			Failed: 2, PerSecond: 1234, Response: attack.Spread{Counts: []uint32{200: uint32(i % 3)}},
		})
	}
	b.Stock(database.Stock{Left: 7, Counted: true, Sold: 191, Oversold: 91})
	return b.State()
}

func TestDraw(t *testing.T) {
	drawn := Draw(oversoldState(), 120, 30)
	text := ansi.Strip(drawn)
	for _, want := range []string{
		"loadtest compare · 2 of 3 · stage4-async · guard none (broken) · flash-sale", "5.0 of 10 s", "█", "40.0 · 1,234 answers/s",
		"190 accepted · 0 replayed · 64 rejected · 2 failed · 0 unknown", "100 units · left 7 · sold 191 · OVERSOLD by 91",
		"1,017 orders/s  p99   52 ms  ok",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if !strings.Contains(drawn, red.Styled("OVERSOLD by 91")) {
		t.Errorf("it is not red: %q", drawn)
	}
	if strings.Contains(text, "dropped") {
		t.Error("the closed model drops nothing")
	}
}

func TestDrawFits(t *testing.T) {
	state := oversoldState()
	for range 50 {
		state.Finished = append(state.Finished, state.Finished[0])
	}
	for _, size := range [][2]int{{200, 50}, {80, 24}, {40, 10}, {12, 4}, {1, 1}, {0, 0}} {
		width, height := size[0], size[1]
		lines := strings.Split(Draw(state, width, height), "\n")
		if len(lines) > max(height, 1) {
			t.Errorf("%d × %d: %d lines", width, height, len(lines))
		}
		for _, line := range lines {
			if n := ansi.StringWidth(line); n > width {
				t.Errorf("%d × %d: a line of %d: %q", width, height, n, line)
			}
		}
	}
}

func TestDrawWithoutARun(t *testing.T) {
	b, _ := newTestBoard()
	b.Say("building stage4-async (1 of 1)")
	if text := ansi.Strip(Draw(b.State(), 80, 20)); !strings.Contains(text, "building stage4-async") {
		t.Errorf("%s", text)
	}
	b.Plan(90 * time.Second)
	b.Next("ceilings before")
	b.Detail("hot row")
	if text := ansi.Strip(Draw(b.State(), 80, 20)); !strings.Contains(text, "ceilings before: hot row") || !strings.Contains(text, "1m30s left") {
		t.Errorf("%s", text)
	}
}

func TestSpark(t *testing.T) {
	values := []*float64{new(99.0), new(0.0), new(4.0), nil, new(8.0), new(7.9)}
	if got := spark(values, 5); got != "▁▅ ██" {
		t.Errorf("%q", got)
	}
	if got := spark(values[1:2], 3); got != "▁  " {
		t.Errorf("%q", got)
	}
	if got := spark(nil, 3); got != "   " {
		t.Errorf("%q", got)
	}
}

func TestVerdicts(t *testing.T) {
	for want, f := range map[string]Finished{
		"ok":                         {Verdict: "ok", Expected: "broken"},
		"not audited":                {},
		"oversold by 5, as expected": {Verdict: "oversold", Oversold: 5, Expected: "broken"},
		"oversold by 5":              {Verdict: "oversold", Oversold: 5, Expected: "safe"},
		"unsettled":                  {Verdict: "unsettled", Expected: "safe"},
	} {
		if got := ansi.Strip(f.verdict()); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
