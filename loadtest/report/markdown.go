package report

import (
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
	"time"
)

// Markdown writes r to w for a reader of rendered Markdown: the verdict first, then the tables, then where and how it
// was measured and how to read it.
func Markdown(w io.Writer, r *Result) error {
	var b strings.Builder
	j := Judge(r)
	fmt.Fprintf(&b, "# %s\n\n", escape(j.Headline))
	for _, s := range append(j.Sentences, caveats(r)...) {
		fmt.Fprintf(&b, "%s\n\n", escape(s))
	}
	for _, g := range slices.Concat(tables(r), details(r)) {
		markdownGrid(&b, g)
	}
	b.WriteString("## Where and how\n\n")
	for _, f := range facts(r) {
		fmt.Fprintf(&b, "- %s: %s\n", f.Word, escape(f.Meaning))
	}
	b.WriteString("\n## How to read this\n\n")
	for _, t := range terms(r) {
		fmt.Fprintf(&b, "- **%s**: %s\n", t.Word, t.Meaning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func markdownGrid(b *strings.Builder, g grid) {
	fmt.Fprintf(b, "## %s\n\n%s\n\n", escape(g.Title), escape(g.Settings))
	for _, c := range g.Columns {
		fmt.Fprintf(b, "| %s ", strings.ReplaceAll(c.Title, "\n", " "))
	}
	b.WriteString("|\n")
	for _, c := range g.Columns {
		if c.Right {
			b.WriteString("| ---: ")
		} else {
			b.WriteString("| --- ")
		}
	}
	b.WriteString("|\n")
	for _, cells := range g.Rows {
		for _, c := range cells {
			s := escape(c.Text)
			if c.Bad {
				s = "**" + s + "**"
			}
			fmt.Fprintf(b, "| %s ", s)
		}
		b.WriteString("|\n")
	}
	b.WriteString("\n")
}

// facts say where and how r was measured.
func facts(r *Result) []term {
	out := []term{
		{"started", r.StartedAt.UTC().Format(time.RFC3339)},
		{"command", printable(r.Command)},
		{"machine", machineText(r)},
	}
	for _, s := range backingText(r) {
		out = append(out, term{"backing service", s})
	}
	if r.Commit != "" {
		out = append(out, term{"commit", string(r.Commit)})
	}
	return append(out, term{"seed", fmt.Sprint(r.Seed)})
}

var markdownEscaper = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "\n", " ", "\r", " ",
)

// escape makes text inert in Markdown, raw HTML included.
func escape(s string) string { return markdownEscaper.Replace(html.EscapeString(s)) }
