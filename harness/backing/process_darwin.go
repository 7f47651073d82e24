package backing

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// startTime is when a process started, in nanoseconds. It is an error if there is no such process.
func startTime(pid int) (string, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(info.Proc.P_starttime.Nano(), 10), nil
}

// inMemory says whether dir is on a file system without a disk below.
func inMemory(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, err
	}
	return unix.ByteSliceToString(st.Fstypename[:]) == "tmpfs", nil
}
