package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"example.com/flashsale/loadtest/attack"
)

// progressEvery is how often the line changes during a load.
const progressEvery = 250 * time.Millisecond

// progress is the line in a terminal that says what runs and how long it will still take. Where there is no terminal it
// writes nothing. Only one goroutine at a time may use it.
type progress struct {
	file  *os.File // nil: no terminal
	steps []time.Duration
	at    int // steps begun
	label string
	since time.Time // of this step
	spent time.Duration
	due   time.Duration // what the steps that are done were expected to take
}

func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return &progress{}
	}
	return &progress{file: w.(*os.File)}
}

// plan adds steps and what they are expected to take.
func (p *progress) plan(steps ...time.Duration) { p.steps = append(p.steps, steps...) }

// next ends a step and begins another.
func (p *progress) next(label string) {
	if p.at > 0 && !p.since.IsZero() {
		p.spent += time.Since(p.since)
		p.due += p.steps[p.at-1]
	}
	p.at++
	p.label, p.since = label, time.Now()
	p.say(p.text(""))
}

// skip leaves a step out.
func (p *progress) skip() {
	p.steps = append(p.steps[:p.at], p.steps[p.at+1:]...)
}

// update shows how far a run is.
func (p *progress) update(now attack.Progress) {
	what := fmt.Sprintf(": %d orders, %.0f answers/s", now.Accepted, now.PerSecond)
	if now.Dropped > 0 {
		what += fmt.Sprintf(", %d dropped", now.Dropped)
	}
	p.say(p.text(what))
}

// detail shows what a step is doing.
func (p *progress) detail(what string) { p.say(p.text(": " + what)) }

func (p *progress) text(what string) string {
	return fmt.Sprintf("[%d/%d] %s%s, %v left", p.at, len(p.steps), p.label, what, p.left().Round(time.Second))
}

// left is what the rest was expected to take, corrected by how wrong that was so far.
func (p *progress) left() time.Duration {
	here := max(p.steps[p.at-1]-time.Since(p.since), 0)
	var later time.Duration
	for _, step := range p.steps[p.at:] {
		later += step
	}
	if p.due > 0 {
		later = time.Duration(float64(later) * min(max(float64(p.spent)/float64(p.due), 0.5), 2))
	}
	return here + later
}

// say replaces the line.
func (p *progress) say(text string) {
	if p.file == nil {
		return
	}
	if width, _, err := term.GetSize(int(p.file.Fd())); err == nil && width > 1 && len(text) >= width {
		text = text[:width-1]
	}
	_, _ = fmt.Fprintf(p.file, "\r\x1b[K%s", text)
}

// clear removes the line.
func (p *progress) clear() { p.say("") }
