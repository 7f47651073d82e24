package report

import (
	_ "embed"
	"html/template"
	"io"
	"slices"
	"strings"
)

//go:embed report.html.tmpl
var pageText string

//go:embed chart.svg.tmpl
var chartText string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"oneLine": func(s string) string { return strings.ReplaceAll(s, "\n", " ") },
}).Parse(pageText + chartText))

// HTML writes r to w as one page that needs no other file and no network, for light and dark screens and for paper.
func HTML(w io.Writer, r *Result) error {
	return page.Execute(w, struct {
		Judgement Judgement
		Caveats   []string
		Groups    []chartGroup
		Grids     []grid
		Facts     []term
		Glossary  []term
	}{Judge(r), caveats(r), chartGroups(r), slices.Concat(tables(r), details(r)), facts(r), terms(r)})
}
