package report

import (
	"fmt"
	"math"
	"strings"
)

// A chart is drawn by the template "chart" as an SVG without a size of its own: across the page positions are percent,
// down the page pixels. So the text stays as large as that of the page at every width, and the colours are those of
// the style sheet. Lines are polylines in an inner drawing of 1000 units width that is stretched.
const (
	plotLeft   = 12.0 // percent: room for the labels of the y axis
	plotWidth  = 86.0 // percent
	innerWidth = 1000.0
	plotTop    = 10.0 // pixels
)

// chart is one figure of the page.
type chart struct {
	Title  string
	Second string // second line of the title
	Bad    bool   // the second line is red
	Note   string // how to read it
	Label  string // for those who cannot see it
	Bars   []bar  // either bars …
	Plot   *plot  // … or a plot
}

// legend says which line is whose. Class is a class of the style sheet.
type legend struct{ Class, Text string }

// bar is one row of a bar chart. Positions are percent of the width.
type bar struct {
	Class       string // of the style sheet
	Name        string
	Value       string // text
	Bad         bool   // the text is red
	Width       string
	Low, High   string // ends of the whisker; empty: there is none
	Mark        string // where the ceiling is; empty: there is none
	MarkMeaning string
}

// plot is lines over two axes.
type plot struct {
	Height  float64 // of the drawing, in pixels
	XTicks  []tick
	YTicks  []tick
	Bands   []band
	Areas   []line
	Lines   []line
	Levels  []level
	XLabel  string
	x, y    axis
	SVGHigh float64 // with the labels below
}

// tick is a labelled position: percent on the x axis, pixels on the y axis.
type tick struct {
	At, Text, Anchor string
}

// band is a shaded range of the x axis, in inner units.
type band struct{ X, Width string }

// line has its points in the syntax of SVG, in inner units.
type line struct{ Class, Points string }

// level is a horizontal line over the whole width, with its name.
type level struct{ Y, Text, Class, TextY string }

// point is one value of a line.
type point struct{ X, Y float64 }

// axis maps values to 0 … 1.
type axis struct {
	min, max float64
	log      bool
}

// at returns where v stands; what is beyond the axis stands at its end.
func (a axis) at(v float64) float64 {
	low, high := a.min, a.max
	if a.log {
		v, low, high = math.Log10(max(v, a.min)), math.Log10(low), math.Log10(high)
	}
	if high <= low {
		return 0
	}
	return min(max((v-low)/(high-low), 0), 1)
}

// linearAxis begins at 0 and ends at a round number.
func linearAxis(largest float64) (axis, []float64) {
	if !(largest > 0) {
		largest = 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(largest/4)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if largest/(unit*factor) <= 5 {
			unit *= factor
			break
		}
	}
	var ticks []float64
	for i := range int(math.Ceil(largest/unit-1e-9)) + 1 {
		ticks = append(ticks, float64(i)*unit)
	}
	return axis{max: ticks[len(ticks)-1]}, ticks
}

// logAxis begins and ends at a 1, 2 or 5 of a decade. It labels these, or the decades alone where that would be many.
func logAxis(smallest, largest float64) (axis, []float64) {
	const room = 8 // labels
	smallest = max(smallest, 1e-3)
	largest = max(largest, 2*smallest)
	var all, decades []float64
	for e := math.Floor(math.Log10(smallest)); e <= math.Ceil(math.Log10(largest)); e++ {
		for _, factor := range []float64{1, 2, 5} {
			all = append(all, factor*math.Pow(10, e))
		}
	}
	for len(all) > 1 && all[1] <= smallest*(1+1e-9) {
		all = all[1:]
	}
	for len(all) > 1 && all[len(all)-2] >= largest*(1-1e-9) {
		all = all[:len(all)-1]
	}
	for _, v := range all {
		if l := math.Log10(v); math.Abs(l-math.Round(l)) < 1e-9 {
			decades = append(decades, v)
		}
	}
	a := axis{min: all[0], max: all[len(all)-1], log: true}
	if len(all) > room && len(decades) > 1 {
		return a, decades
	}
	return a, all
}

// newPlot makes a plot of this height in pixels.
func newPlot(height float64, x, y axis, xLabel string) *plot {
	return &plot{Height: height, SVGHigh: height + plotTop + 40, x: x, y: y, XLabel: xLabel}
}

// xTick labels a value of the x axis.
func (p *plot) xTick(v float64, text string) {
	at, anchor := p.x.at(v), "middle"
	switch {
	case at < 0.02:
		anchor = "start"
	case at > 0.98:
		anchor = "end"
	}
	p.XTicks = append(p.XTicks, tick{percent(plotLeft + at*plotWidth), text, anchor})
}

// yTicks labels values of the y axis.
func (p *plot) yTicks(values []float64, text func(float64) string) {
	for _, v := range values {
		p.YTicks = append(p.YTicks, tick{At: number(plotTop + p.down(v)), Text: text(v)})
	}
}

// down returns how far below the top of the drawing a value stands.
func (p *plot) down(v float64) float64 { return (1 - p.y.at(v)) * p.Height }

// line adds a line through the points; one point alone becomes a short one.
func (p *plot) line(class string, points []point) {
	if len(points) > 0 {
		p.Lines = append(p.Lines, line{class, p.path(points)})
	}
}

// areaAbove fills what lies between a level and the part of a line above it.
func (p *plot) areaAbove(class string, points []point, floor float64) {
	var above []point
	for i, here := range points {
		if i > 0 && (points[i-1].Y > floor) != (here.Y > floor) {
			before := points[i-1]
			share := (floor - before.Y) / (here.Y - before.Y)
			above = append(above, point{before.X + share*(here.X-before.X), floor})
		}
		if here.Y > floor {
			above = append(above, here)
		} else if len(above) > 0 {
			above = append(above, point{here.X, floor})
		}
	}
	if len(above) == 0 {
		return
	}
	above = append(above, point{above[len(above)-1].X, floor})
	p.Areas = append(p.Areas, line{class, p.path(above)})
}

// level adds a named horizontal line.
func (p *plot) level(class string, v float64, text string) {
	y := plotTop + p.down(v)
	p.Levels = append(p.Levels, level{Y: number(y), Text: text, Class: class, TextY: number(y - 5)})
}

// band shades a range of the x axis.
func (p *plot) band(from, to float64) {
	x := p.x.at(from) * innerWidth
	p.Bands = append(p.Bands, band{number(x), number(p.x.at(to)*innerWidth - x)})
}

// path writes points as SVG does. A point alone gets some length, or it would not be seen.
func (p *plot) path(points []point) string {
	var b strings.Builder
	for i, at := range points {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s,%s", number(p.x.at(at.X)*innerWidth), number(p.down(at.Y)))
	}
	if len(points) == 1 {
		fmt.Fprintf(&b, " %s,%s", number(p.x.at(points[0].X)*innerWidth+8), number(p.down(points[0].Y)))
	}
	return b.String()
}

// percent writes a position or width across the page.
func percent(v float64) string { return number(v) + "%" }

// number writes a coordinate in as few characters as do.
func number(v float64) string {
	s := fmt.Sprintf("%.1f", v)
	s = strings.TrimSuffix(s, ".0")
	if s == "-0" {
		return "0"
	}
	return s
}
