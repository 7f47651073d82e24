package live

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/dustin/go-humanize"
)

// The colours are those of the terminal, so that they suit a light and a dark one. The terminal's driver removes them
// where they are not wanted.
var (
	strong = ansi.NewStyle().Bold()
	faint  = ansi.NewStyle().Faint()
	blue   = ansi.NewStyle().ForegroundColor(ansi.Blue)
	yellow = ansi.NewStyle().ForegroundColor(ansi.Yellow)
	green  = ansi.NewStyle().ForegroundColor(ansi.Green)
	red    = ansi.NewStyle().Bold().ForegroundColor(ansi.BrightRed)
)

const (
	// wideSpark is the longest sparkline, in characters.
	wideSpark = 60
	// figures is the room beside a sparkline.
	figures = 34
	// fixedRows is how many lines there are beside the finished runs, at most.
	fixedRows = 7
	minute    = 60.0
)

// Draw returns a state as lines for a terminal of that size, none longer than width, no more than height, with the
// colours as escape sequences.
func Draw(s State, width, height int) string {
	lines := []string{heading(s)}
	switch {
	case s.Run != nil:
		lines = append(lines, s.Run.draw(s.LeftSeconds, width)...)
	case s.Headline != "":
		lines = append(lines, row("now", s.Headline))
	case s.Step > 0:
		text := s.Label
		if s.Detail != "" {
			text += ": " + s.Detail
		}
		lines = append(lines, row("now", text), row("time", faint.Styled(duration(s.LeftSeconds)+" left in all")))
	}
	lines = append(lines, drawFinished(s.Finished, height-max(len(lines), fixedRows)-1)...)
	lines = lines[:min(len(lines), max(height, 1))]
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], width, "…")
	}
	return strings.Join(lines, "\n")
}

func row(name, text string) string { return faint.Styled(fmt.Sprintf("%-9s", name)) + " " + text }

func heading(s State) string {
	parts := []string{strong.Styled("loadtest " + s.Title)}
	if s.Step > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d", s.Step, s.Steps))
	}
	if r := s.Run; r != nil {
		parts = append(parts, strong.Styled(r.Stage))
		if r.Guard != "" {
			parts = append(parts, "guard "+strong.Styled(r.Guard)+expectation(r.Expected))
		}
		parts = append(parts, r.Workload)
	}
	return strings.Join(parts, faint.Styled(" · "))
}

func expectation(expected string) string {
	switch expected {
	case "":
		return ""
	case "broken":
		return yellow.Styled(" (broken)")
	default:
		return " (" + expected + ")"
	}
}

func (r *Run) draw(leftSeconds float64, width int) []string {
	orders, p99 := make([]*float64, len(r.Points)), make([]*float64, len(r.Points))
	for i, p := range r.Points {
		orders[i], p99[i] = new(p.OrdersPerSecond), p.P99MS
	}
	room := min(max(width-10-figures, 1), wideSpark)
	lines := []string{
		row("time", r.clock(room)+"  "+faint.Styled(duration(leftSeconds)+" left in all")),
		row("orders/s", fmt.Sprintf("%s  %s", blue.Styled(spark(orders, room)), strong.Styled(rate(r.OrdersPerSecond))+faint.Styled(" · "+rate(r.QPS)+" answers/s"))),
		row("p99", fmt.Sprintf("%s  %s", yellow.Styled(spark(p99, room)), strong.Styled(milliseconds(r.P99MS)))),
		row("answers", r.outcomes()),
	}
	if r.Stock != nil {
		lines = append(lines, row("stock", r.Stock.draw()))
	}
	return lines
}

// clock is a bar of the time that has passed. A flash sale ends when all is sold, so its bar may end early.
func (r *Run) clock(room int) string {
	if r.Auditing {
		return fmt.Sprintf("%-*s  %s", room, strings.Repeat("━", room), "waiting for the database to rest, then the audit")
	}
	share := 0.0
	if r.DurationSeconds > 0 {
		share = min(r.ElapsedSeconds/r.DurationSeconds, 1)
	}
	full := int(math.Round(share * float64(room)))
	return strings.Repeat("━", full) + faint.Styled(strings.Repeat("─", room-full)) +
		fmt.Sprintf("  %.1f of %.0f s", r.ElapsedSeconds, r.DurationSeconds)
}

func (r *Run) outcomes() string {
	parts := []string{green.Styled(humanize.Comma(r.Accepted) + " accepted")}
	add := func(n int64, name string, style ansi.Style) {
		text := humanize.Comma(n) + " " + name
		switch {
		case n == 0:
			text = faint.Styled(text)
		case len(style) > 0:
			text = style.Styled(text)
		}
		parts = append(parts, text)
	}
	add(r.Replayed, "replayed", nil)
	add(r.Rejected, "rejected", nil)
	add(r.Failed, "failed", yellow)
	add(r.Unknown, "unknown", yellow)
	if r.Dropped != nil {
		add(*r.Dropped, "dropped", yellow)
	}
	return strings.Join(parts, faint.Styled(" · "))
}

func (s *Stock) draw() string {
	parts := []string{humanize.Comma(s.Initial) + " units", "left " + count(s.Left), "sold " + count(s.soldOrPromised())}
	if s.Oversold > 0 {
		parts = append(parts, red.Styled("OVERSOLD by "+humanize.Comma(s.Oversold)))
	}
	return strings.Join(parts, faint.Styled(" · "))
}

// soldOrPromised is the larger of what the database and the buyers know: each is behind the other at times.
func (s *Stock) soldOrPromised() *int64 {
	if s.Sold == nil || *s.Sold < s.Promised {
		return &s.Promised
	}
	return s.Sold
}

// drawFinished shows the last runs that fit.
func drawFinished(all []Finished, room int) []string {
	if room < 1 {
		return nil
	}
	all = all[max(len(all)-room, 0):]
	var lines []string
	for i, f := range all {
		name := ""
		if i == 0 {
			name = "done"
		}
		lines = append(lines, row(name, fmt.Sprintf("%-16s %-11s %-10s %9s orders/s  p99 %7s  ", f.Stage, f.Guard, f.Workload,
			rate(f.OrdersPerSecond), milliseconds(f.P99MS))+f.verdict()))
	}
	return lines
}

func (f Finished) verdict() string {
	text := f.Verdict
	if f.Oversold > 0 {
		text = fmt.Sprintf("oversold by %s", humanize.Comma(f.Oversold))
	}
	switch {
	case text == "":
		return faint.Styled("not audited")
	case !f.Bad():
		return green.Styled(text)
	case f.Expected == "broken":
		return red.Styled(text) + faint.Styled(", as expected")
	default:
		return red.Styled(text)
	}
}

// blocks are the heights of a sparkline.
var blocks = []rune("▁▂▃▄▅▆▇█")

// spark draws the last values, from 0 to their maximum, padded to width. Unknown is a gap.
func spark(values []*float64, width int) string {
	values = values[max(len(values)-width, 0):]
	top := 0.0
	for _, v := range values {
		if v != nil {
			top = max(top, *v)
		}
	}
	var line strings.Builder
	for _, v := range values {
		switch {
		case v == nil:
			line.WriteByte(' ')
		case top == 0:
			line.WriteRune(blocks[0])
		default:
			line.WriteRune(blocks[min(int(*v/top*float64(len(blocks))), len(blocks)-1)])
		}
	}
	return line.String() + strings.Repeat(" ", width-len(values))
}

func count(n *int64) string {
	if n == nil {
		return "–"
	}
	return humanize.Comma(*n)
}

func rate(f float64) string {
	if f < 100 {
		return humanize.CommafWithDigits(f, 1)
	}
	return humanize.Comma(int64(math.Round(f)))
}

func milliseconds(ms *float64) string {
	switch {
	case ms == nil:
		return "–"
	case *ms < 10:
		return fmt.Sprintf("%.1f ms", *ms)
	default:
		return humanize.Comma(int64(math.Round(*ms))) + " ms"
	}
}

// duration is a rough time: nobody needs tenths of a forecast.
func duration(seconds float64) string {
	if seconds < minute {
		return fmt.Sprintf("%.0f s", seconds)
	}
	return (time.Duration(seconds) * time.Second).String()
}
