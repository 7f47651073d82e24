package stage

import (
	"io"
	"os"
	"strings"
	"sync"
)

// tailBytes is how much of a stage's log is kept in memory.
const tailBytes = 64 << 10

// tail keeps the last bytes written to it and copies everything to next, where set. It may be used concurrently.
type tail struct {
	mu   sync.Mutex
	kept []byte
	next io.Writer
}

// Write never fails, so that a broken terminal does not stop a stage.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*tailBytes {
		t.kept = append([]byte(nil), t.kept[len(t.kept)-tailBytes:]...)
	}
	if t.next != nil {
		_, _ = t.next.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept[max(0, len(t.kept)-tailBytes):])
}

// copyFrom reads until every writer has closed its end of the pipe, or the deadline that the owner sets after the
// process ended.
func (t *tail) copyFrom(pipe *os.File) {
	_, _ = io.Copy(t, pipe)
	_ = pipe.Close()
}

// lastLines returns at most n lines from the end of the text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
