package stage

import "github.com/prometheus/procfs"

// Running says whether the process exists and has not ended. One that has ended but was not waited for by its parent
// does not count. Systems without /proc always answer false.
func Running(pid int) bool {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	stat, err := process.Stat()
	return err == nil && !ended(stat)
}

func ended(stat procfs.ProcStat) bool { return stat.State == "Z" || stat.State == "X" }

// tree returns pid and all its descendants, parents before children; nothing when pid has ended.
func tree(pid int) []int {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	alive := false
	for _, process := range all {
		stat, err := process.Stat()
		if err != nil || ended(stat) {
			continue
		}
		children[stat.PPID] = append(children[stat.PPID], stat.PID)
		alive = alive || stat.PID == pid
	}
	if !alive {
		return nil
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids
}
