package attack

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// shortSlice is the shortest time slice that Linux grants.
const shortSlice = 100 * time.Microsecond

// wakeSooner gives all threads of this process a short time slice, and returns what
// takes it back. A thread that wakes up waits until the one that runs has used its
// slice, some milliseconds by default, unless its own slice is shorter. It gets no
// more processor time for that, only sooner, and needs no right for it. Linux 6.12 or
// newer heeds it; see "custom slice" in the kernel's sched-eevdf.rst. Threads inherit
// it from the one that starts them. So do processes, which is why it must end.
func wakeSooner() (undo func()) {
	before := sliceOf(0)
	setSlices(uint64(shortSlice))
	return func() { setSlices(before) }
}

// sliceOf returns the time slice of a thread in nanoseconds, and 0 where the kernel does
// not tell. Thread 0 is the calling one.
func sliceOf(thread int) uint64 {
	attr, err := unix.SchedGetAttr(thread, 0)
	if err != nil {
		return 0
	}
	return attr.Runtime
}

// setSlices sets the time slice of all threads; 0 leaves it to the kernel. What cannot be
// set stays as it is: the generator is then as late as the system makes it, and says so.
func setSlices(ns uint64) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			continue
		}
		if attr, err := unix.SchedGetAttr(id, 0); err == nil && attr.Policy == unix.SCHED_NORMAL {
			attr.Runtime = ns
			_ = unix.SchedSetAttr(id, attr, 0) // the thread may have ended
		}
	}
}
