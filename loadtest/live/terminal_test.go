package live

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// display collects what is written to a terminal.
type display struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *display) read(from *os.File) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		d.mu.Lock()
		_, _ = d.text.Write(buffer[:n])
		d.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (d *display) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// waitFor waits until the text, with or without its escape sequences, contains what is wanted.
func (d *display) waitFor(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for text := d.String(); !strings.Contains(text, want) && !strings.Contains(ansi.Strip(text), want); text = d.String() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%q does not appear in %q", want, d.String())
		}
	}
}

// openPTY returns a terminal and what it displays. The test process is not in its foreground.
func openPTY(t *testing.T) (*os.File, *display) {
	t.Helper()
	master, terminal, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	d := &display{}
	var reading sync.WaitGroup
	reading.Go(func() { d.read(master) })
	t.Cleanup(func() {
		_ = terminal.Close()
		_ = master.Close()
		reading.Wait()
	})
	return terminal, d
}

func TestTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	terminal, shown := openPTY(t)
	before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := newTestBoard()
	sale(b, 100)
	view := OpenTerminal(terminal, terminal, true, b.State)
	shown.waitFor(t, "stage4-async")
	shown.waitFor(t, "flash-sale")
	view.Print("a line above\n")
	shown.waitFor(t, "a line above")
	if strings.Contains(shown.String(), "\x1b[?1049h") {
		t.Error("it takes the whole screen: what was printed before is hidden")
	}
	view.Close()
	view.Close()
	view.Print("after the view\n")
	shown.waitFor(t, "after the view")
	after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal's mode was %+v and is %+v, %v", before, after, err)
	}
	// Queries would be answered by the terminal, and nobody reads the answers.
	for _, query := range []string{"\x1b[c", "\x1b[6n", "$p", "\x1b[?u", "\x1b[>"} {
		if strings.Contains(shown.String(), query) {
			t.Errorf("%q asks the terminal something: %q", query, shown.String())
		}
	}
	shown.waitFor(t, "\x1b[?25h") // the cursor is there again
}

// TestPrintBeforeTheFirstPicture: the text must not be lost, and nothing may scroll away for it.
func TestPrintBeforeTheFirstPicture(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	terminal, shown := openPTY(t)
	b, _ := newTestBoard()
	view := OpenTerminal(terminal, terminal, true, b.State)
	view.Print("early\n")
	shown.waitFor(t, "early")
	if text := shown.String(); strings.Index(text, "compare") > strings.Index(text, "early") {
		t.Errorf("it was printed before the first picture: %q", text)
	}
	view.Close()

	view = OpenTerminal(terminal, terminal, true, b.State)
	view.Print("at the very end\n")
	view.Close()
	shown.waitFor(t, "at the very end")
}

func TestNoColour(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	for _, colours := range []bool{true, false} {
		terminal, shown := openPTY(t)
		state := oversoldState()
		view := OpenTerminal(terminal, terminal, colours, func() State { return state })
		shown.waitFor(t, "OVERSOLD")
		view.Close()
		if red := strings.Contains(shown.String(), "\x1b[91;"); red != colours {
			t.Errorf("colours %v, red %v: %q", colours, red, shown.String())
		}
	}
}

func TestDrawable(t *testing.T) {
	for kind, want := range map[string]bool{"": false, "dumb": false, "xterm-256color": true, "screen": true} {
		if Drawable(kind) != want {
			t.Errorf("%q", kind)
		}
	}
}
