package report

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"example.com/flashsale/loadtest/browser"
)

// TestPageInABrowser looks at the page as a reader does. With SCREENSHOTS=folder it leaves pictures there.
func TestPageInABrowser(t *testing.T) {
	ctx := browser.Start(t)
	path := filepath.Join(t.TempDir(), "report.html")
	if err := replace(path, func(w io.Writer) error { return HTML(w, drawnFixture()) }); err != nil {
		t.Fatal(err)
	}
	seen := browser.Listen(ctx, t)
	if err := chromedp.Do(ctx, chromedp.Navigate("file://"+path), chromedp.WaitReady(chromedp.CSS("body"))); err != nil {
		t.Fatal(err)
	}
	for _, view := range []struct {
		name          string
		width, height int64
		scheme        string
		background    string
	}{
		{"wide", 1280, 900, "light", "rgb(255, 255, 255)"},
		{"wide-dark", 1280, 900, "dark", "rgb(21, 24, 28)"},
		{"phone", 375, 800, "light", "rgb(255, 255, 255)"},
	} {
		t.Run(view.name, func(t *testing.T) {
			browser.Resize(ctx, t, view.width, view.height, view.scheme)
			page, err := chromedp.Run(ctx, chromedp.Evaluate[pageFacts](inspect))
			if err != nil {
				t.Fatal(err)
			}
			// Two workloads, answers, audits, and perhaps ceilings; three sales and six other plots; five bars.
			if page.Tables < 4 || page.Plots != 9 || page.Bars != 5 || page.Empty != 0 || page.First != "H1" {
				t.Errorf("%+v", page)
			}
			if view.width >= 1280 && len(page.Scrolled) > 0 {
				t.Errorf("tables that must be scrolled on a wide screen: %q", page.Scrolled)
			}
			if page.Overflow > 0 || len(page.Outside) > 0 {
				t.Errorf("wider than the screen by %d pixels; outside of it: %q", page.Overflow, page.Outside)
			}
			if page.Background != view.background {
				t.Errorf("background %s", page.Background)
			}
			browser.Screenshot(ctx, t, view.name)
		})
	}
	if said := seen.Complaints(); len(said) > 0 {
		t.Errorf("the console says %q", said)
	}
	if asked := seen.Requests(); len(asked) != 1 {
		t.Errorf("requests: %q, want that of the page alone", asked)
	}
}

// TestEveryPageFits looks at the other kinds of reports: no table is cut at 1280 pixels, and nothing is wider than a phone but
// the tables, which scroll.
func TestEveryPageFits(t *testing.T) {
	ctx := browser.Start(t)
	for name, r := range map[string]*Result{"ceilings": ceilingsFixture(), "open": openFixture(), "faults": faultsFixture()} {
		path := filepath.Join(t.TempDir(), "report.html")
		if err := replace(path, func(w io.Writer) error { return HTML(w, r) }); err != nil {
			t.Fatal(err)
		}
		if err := chromedp.Do(ctx, chromedp.Navigate("file://"+path), chromedp.WaitReady(chromedp.CSS("body"))); err != nil {
			t.Fatal(err)
		}
		for _, width := range []int64{1280, 390} {
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900)); err != nil {
				t.Fatal(err)
			}
			page, err := chromedp.Run(ctx, chromedp.Evaluate[pageFacts](inspect))
			if err != nil {
				t.Fatal(err)
			}
			if page.Tables == 0 || page.Empty > 0 || page.Overflow > 0 || len(page.Outside) > 0 || width >= 1280 && len(page.Scrolled) > 0 {
				t.Errorf("%s at %d pixels: %+v", name, width, page)
			}
		}
	}
}

// pageFacts are what inspect finds.
type pageFacts struct {
	Tables, Plots, Bars, Empty int
	Background                 string
	Overflow                   int
	Outside, Scrolled          []string
	First                      string
}

// inspect measures the page. Text of a chart must be on the screen.
const inspect = `({
	Tables: document.querySelectorAll('table').length,
	Plots: document.querySelectorAll('svg.plot').length,
	Bars: document.querySelectorAll('.bar svg').length,
	Empty: [...document.querySelectorAll('svg.plot')].filter(s => !s.querySelector('polyline') || s.getBoundingClientRect().width < 100).length,
	Background: getComputedStyle(document.body).backgroundColor,
	Overflow: document.documentElement.scrollWidth - window.innerWidth,
	Outside: [...document.querySelectorAll('svg.plot text')].filter(t => { const r = t.getBoundingClientRect(); return r.left < 0 || r.right > window.innerWidth }).map(t => t.textContent),
	Scrolled: [...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth).map(s => s.querySelector('th').textContent + ' ' + s.scrollWidth),
	First: document.body.firstElementChild.tagName,
})`
