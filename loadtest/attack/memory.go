package attack

import (
	"os"

	"github.com/shirou/gopsutil/v4/process"
)

// residentMemory returns how much of the machine's memory this process holds, in bytes,
// or 0 where the system does not tell.
func residentMemory() int64 {
	self, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		return 0
	}
	info, err := self.MemoryInfo()
	if err != nil {
		return 0
	}
	return int64(info.RSS)
}
