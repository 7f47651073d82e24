package backing

import (
	"fmt"
	"strconv"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// startTime is when a process started, in clock ticks since boot: unlike a date it does not move when the clock is set.
// It is an error if there is no such process.
func startTime(pid int) (string, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return "", err
	}
	stat, err := p.Stat()
	if err != nil {
		return "", err
	}
	if stat.State == "Z" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return strconv.FormatUint(stat.Starttime, 10), nil
}

// inMemory says whether dir is on a file system without a disk below.
func inMemory(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, err
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC, nil
}
