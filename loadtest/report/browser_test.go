package report

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// TestPageInABrowser looks at the page as a reader does. With SCREENSHOTS=folder it leaves pictures there.
func TestPageInABrowser(t *testing.T) {
	ctx := browser(t)
	path := filepath.Join(t.TempDir(), "report.html")
	if err := replace(path, func(w io.Writer) error { return HTML(w, drawnFixture()) }); err != nil {
		t.Fatal(err)
	}
	seen := listen(ctx, t)
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
			scheme := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: view.scheme}}}
			if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, scheme); err != nil {
				t.Fatal(err)
			}
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(view.width, view.height)); err != nil {
				t.Fatal(err)
			}
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
			screenshot(ctx, t, view.name)
		})
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if len(seen.complaints) > 0 {
		t.Errorf("the console says %q", seen.complaints)
	}
	if len(seen.requests) != 1 {
		t.Errorf("requests: %q, want that of the page alone", seen.requests)
	}
}

// TestEveryPageFits looks at the other kinds of reports: no table is cut at 1280 pixels, and nothing is wider than a phone but
// the tables, which scroll.
func TestEveryPageFits(t *testing.T) {
	ctx := browser(t)
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

// witness remembers what the page says and asks for.
type witness struct {
	mu         sync.Mutex
	complaints []string
	requests   []string
}

func listen(ctx context.Context, t *testing.T) *witness {
	t.Helper()
	seen := &witness{}
	err := chromedp.Listen(ctx, func(event any) {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			seen.complaints = append(seen.complaints, string(e.Type))
		case *runtime.EventExceptionThrown:
			seen.complaints = append(seen.complaints, e.ExceptionDetails.Text)
		case *cdplog.EventEntryAdded:
			seen.complaints = append(seen.complaints, e.Entry.Text)
		case *network.EventRequestWillBeSent:
			seen.requests = append(seen.requests, e.Request.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// browser starts a Chromium without a window, or skips the test where there is none.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser")
	}
	var path string
	for _, name := range []string{os.Getenv("CHROME"), "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium found: install chromium, or set CHROME to its path")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // root has no sandbox; the page is our own
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

func screenshot(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, "/", "-")+".png"), png, 0o600); err != nil {
		t.Fatal(err)
	}
}
