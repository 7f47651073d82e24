package live

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
)

const (
	// drawEvery is how often the view redraws.
	drawEvery = 250 * time.Millisecond
	// framesPerSecond bounds how often the driver writes to the terminal.
	framesPerSecond = 10
	// closeTimeout bounds the end of the view: a terminal may have gone.
	closeTimeout = 2 * time.Second
	// maxEarly bounds what waits for the first picture, in bytes.
	maxEarly = 64 << 10
)

// Terminal is the view in a terminal, below what was printed before. It reads no keys and leaves the terminal's mode as
// it is, but for the echo of what is typed: so Ctrl-C and Ctrl-Z are signals as ever, and a process that is killed leaves
// hardly a trace. Its methods may be called concurrently.
type Terminal struct {
	program *tea.Program
	restore func()
	closing sync.Once
	stop    chan struct{} // no further redrawing
	ended   sync.WaitGroup
	out     io.Writer

	mu     sync.Mutex
	drawn  bool            // the first picture is there
	over   bool            // the view has gone
	before strings.Builder // what was to be printed before the first picture
}

// OpenTerminal begins to draw state on out; in is where keys come from. It returns at once. The caller must Close it.
func OpenTerminal(in, out *os.File, colours bool, state func() State) *Terminal {
	options := []tea.ProgramOption{
		tea.WithInput(nil), tea.WithOutput(out), tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond),
	}
	if !colours {
		options = append(options, tea.WithColorProfile(colorprofile.ASCII))
	}
	t := &Terminal{out: out, stop: make(chan struct{}), restore: withoutEcho(in)}
	t.program = tea.NewProgram(&screen{state: state}, options...)
	t.ended.Go(t.run)
	t.ended.Go(t.tick)
	return t
}

// run ends with the program.
func (t *Terminal) run() {
	_, err := t.program.Run()
	if errors.Is(err, tea.ErrProgramPanic) {
		t.restore()
		panic(err) // it was printed where it happened
	}
}

// tick asks for a new picture again and again.
func (t *Terminal) tick() {
	ticker := time.NewTicker(drawEvery)
	defer ticker.Stop()
	for ticks := 0; ; ticks++ {
		select {
		case <-ticker.C:
			t.program.Send(redraw{})
		case <-t.stop:
			return
		}
		if ticks == 1 {
			t.printEarly()
		}
	}
}

// printEarly prints what came before the first picture. Until then the driver does not know its height, and would push
// what was printed before off the screen.
func (t *Terminal) printEarly() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drawn = true
	t.insert(t.before.String())
	t.before.Reset()
}

// insert puts lines above the picture.
func (t *Terminal) insert(text string) {
	if text != "" {
		t.program.Send(tea.Println(strings.TrimSuffix(text, "\n"))())
	}
}

// Print writes whole lines above the view, or where the view was once it is closed. It blocks until the view takes them,
// which is soon.
func (t *Terminal) Print(lines string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.over:
		_, _ = io.WriteString(t.out, lines)
	case t.drawn || t.before.Len() > maxEarly:
		t.insert(lines)
	default:
		t.before.WriteString(lines)
	}
}

// Close removes the view and restores the terminal. It blocks until that is done, two seconds at most, and may be called
// again.
func (t *Terminal) Close() {
	t.closing.Do(func() {
		close(t.stop)
		late := time.AfterFunc(closeTimeout, t.program.Kill)
		defer late.Stop()
		t.program.Send(leave{})
		t.ended.Wait()
		t.restore()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.over = true
		_, _ = io.WriteString(t.out, t.before.String())
		t.before.Reset()
	})
}

// Messages to the screen.
type (
	redraw struct{}
	leave  struct{}
)

// screen is what bubbletea draws.
type screen struct {
	state         func() State
	width, height int
	left          bool
}

var _ tea.Model = (*screen)(nil)

// Init does nothing.
func (*screen) Init() tea.Cmd { return nil }

// Update takes note of the terminal's size and of the end.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
	case leave:
		s.left = true
		return s, tea.Quit
	}
	return s, nil
}

// View is empty in the end: the report takes its place.
func (s *screen) View() tea.View {
	v := tea.NewView("")
	v.DisableBracketedPasteMode = true
	if !s.left && s.width > 0 {
		v.SetContent(Draw(s.state(), s.width, s.height-1))
	}
	return v
}

// Drawable says whether a view can be drawn on a terminal of that kind (TERM).
func Drawable(term string) bool { return term != "" && term != "dumb" }
