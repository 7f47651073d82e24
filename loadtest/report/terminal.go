package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Terminal writes the tables of r to w, one per workload, and under them what they mean. With color, what is wrong
// is red. A line has at most 160 characters unless names are long.
func Terminal(w io.Writer, r *Result, color bool) error {
	var b strings.Builder
	for _, g := range tables(r) {
		fmt.Fprintf(&b, "%s\n%s\n%s\n\n", g.Title, g.Settings, renderGrid(g, color))
	}
	for _, note := range caveats(r) {
		fmt.Fprintf(&b, "Note: %s\n", note)
	}
	j := Judge(r)
	fmt.Fprintln(&b, paint(j.Headline, color, !j.OK))
	for _, s := range j.Sentences {
		fmt.Fprintln(&b, s)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func renderGrid(g grid, color bool) string {
	t := table.NewWriter()
	t.SetStyle(terminalStyle())
	header := make(table.Row, len(g.Columns))
	configs := make([]table.ColumnConfig, len(g.Columns))
	for i, c := range g.Columns {
		header[i] = c.Title
		configs[i] = table.ColumnConfig{Number: i + 1}
		if c.Right {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
	}
	t.AppendHeader(header)
	t.SetColumnConfigs(configs)
	for _, cells := range g.Rows {
		line := make(table.Row, len(cells))
		for i, c := range cells {
			line[i] = paint(c.Text, color, c.Bad)
		}
		t.AppendRow(line)
	}
	lines := strings.Split(t.Render(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// terminalStyle has no frame, so that fourteen columns fit into a line.
func terminalStyle() table.Style {
	s := table.StyleLight
	s.Options = table.Options{SeparateColumns: true, SeparateHeader: true}
	s.Format.Header = text.FormatDefault
	s.Box.PaddingLeft, s.Box.PaddingRight = "", "  "
	s.Box.MiddleVertical = ""
	s.Box.MiddleSeparator = ""
	return s
}

func paint(s string, color, bad bool) string {
	if !color || !bad {
		return s
	}
	return "\x1b[31m" + s + "\x1b[0m"
}
