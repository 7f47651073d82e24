package live

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"example.com/flashsale/loadtest/browser"
)

// TestPageInABrowser watches a run as a reader does, to its end. With SCREENSHOTS=folder it leaves pictures there.
func TestPageInABrowser(t *testing.T) {
	ctx := browser.Start(t)
	var mu sync.Mutex
	b, _ := newTestBoard()
	sale(b, 100)
	state := b.State()
	server, err := Serve(t.Context(), "127.0.0.1:0", func() State {
		mu.Lock()
		defer mu.Unlock()
		return state
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	seen := browser.Listen(ctx, t)
	// A run that has just begun, and then one in which all there is to see is seen.
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL()), chromedp.WaitVisible(chromedp.CSS("#run"))); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	state = oversoldState()
	mu.Unlock()
	if err := chromedp.Do(ctx, chromedp.WaitVisible(chromedp.CSS("#alarm"))); err != nil {
		t.Fatal(err)
	}
	for _, view := range []struct {
		name          string
		width, height int64
		scheme        string
		background    string
	}{
		{"live", 1100, 800, "light", "rgb(255, 255, 255)"},
		{"live-dark", 1100, 800, "dark", "rgb(21, 24, 28)"},
		{"live-phone", 375, 800, "light", "rgb(255, 255, 255)"},
	} {
		t.Run(view.name, func(t *testing.T) {
			browser.Resize(ctx, t, view.width, view.height, view.scheme)
			page, err := chromedp.Run(ctx, chromedp.Evaluate[pageFacts](inspect))
			if err != nil {
				t.Fatal(err)
			}
			if page.Head != "stage4-async · guard none (broken) · flash-sale" || !strings.HasPrefix(page.Alarm, "Oversold by 91") ||
				page.Link != "live" || page.Lines != 2 || page.Done != 1 || !strings.HasPrefix(page.Title, "OVERSOLD") {
				t.Errorf("%+v", page)
			}
			if page.Overflow > 0 || page.Background != view.background {
				t.Errorf("wider than the screen by %d pixels, background %s", page.Overflow, page.Background)
			}
			browser.Screenshot(ctx, t, view.name)
		})
	}
	mu.Lock()
	state.Over, state.Outcome, state.Run = true, "all as expected", nil
	mu.Unlock()
	server.Close()
	if err := chromedp.Do(ctx, chromedp.WaitVisible(chromedp.CSS("body.over"))); err != nil {
		t.Error(err)
	}
	page, err := chromedp.Run(ctx, chromedp.Evaluate[pageFacts](inspect))
	if err != nil || page.Link != "over" || page.Head != "The run is over: all as expected" || page.Alarm != "" {
		t.Errorf("%+v, %v", page, err)
	}
	if said := seen.Complaints(); len(said) > 0 {
		t.Errorf("the console says %q", said)
	}
	asked := []string{server.URL(), server.URL() + "events"}
	for _, url := range seen.Requests() {
		if !slices.Contains(asked, url) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asks for %s", url)
		}
	}
}

// pageFacts are what inspect finds.
type pageFacts struct {
	Head, Alarm, Link, Title, Background string
	Lines, Done, Overflow                int
}

// inspect reads the page. A line counts when it has points.
const inspect = `({
	Head: document.getElementById('head').textContent,
	Alarm: document.getElementById('alarm').hidden ? '' : document.getElementById('alarm').textContent,
	Link: document.getElementById('link').textContent,
	Title: document.title,
	Background: getComputedStyle(document.body).backgroundColor,
	Lines: [...document.querySelectorAll('polyline')].filter(l => l.points.length > 10).length,
	Done: document.querySelectorAll('#finished tr').length,
	Overflow: document.documentElement.scrollWidth - window.innerWidth,
})`

// TestRefusedViewerComesAgain: one viewer too many sees the run when another has left.
func TestRefusedViewerComesAgain(t *testing.T) {
	ctx := browser.Start(t)
	b, _ := newTestBoard()
	sale(b, 100)
	server := serve(t, b)
	for range maxViewers {
		server.viewers <- struct{}{}
	}
	trying := chromedp.Poll[bool](`document.getElementById("link").textContent.includes("trying again")`)
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL())); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(ctx, trying); err != nil {
		t.Fatal(err)
	}
	<-server.viewers
	if err := chromedp.Do(ctx, chromedp.WaitVisible(chromedp.CSS("#run"))); err != nil {
		t.Fatal("it did not come again: ", err)
	}
}
