package attack

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// Threads that start meanwhile get the short slice too; afterwards none has it.
func TestSlicesAreShortForAWhile(t *testing.T) {
	before := sliceOf(0)
	undo := wakeSooner()
	if sliceOf(0) != uint64(shortSlice) {
		undo()
		t.Skip("this kernel does not let a thread choose its time slice; Linux 6.12 does")
	}
	started, ended := make(chan struct{}), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		close(started)
		<-ended
	}()
	<-started
	if got := countSlices(t, uint64(shortSlice)); got[false] > 0 || got[true] < 2 {
		t.Errorf("%d threads have a short slice, %d have none", got[true], got[false])
	}
	close(ended)
	undo()
	if got := countSlices(t, before); got[false] > 0 {
		t.Errorf("%d threads have not the slice that they had, %v", got[false], time.Duration(before))
	}
}

// countSlices counts the threads of this process that have that slice, and those that do not.
func countSlices(t *testing.T, ns uint64) map[bool]int {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	count := map[bool]int{}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		count[sliceOf(id) == ns]++
	}
	return count
}
