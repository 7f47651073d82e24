package fleet

// Bounds of the fleet.
const (
	// MaxProcesses keeps a slip of the pen from starting hundreds of processes.
	MaxProcesses = 32
	// ownFiles is what a process opens besides one connection for each user.
	ownFiles = 64
	// portsPerAddr is how many connections one source address carries to one target: Linux has 28,232 ports for it by
	// default, and other programs need some.
	portsPerAddr = 24_000
)

// Processes returns how many processes it takes for so many users where each may open limit files (0: not known). The
// result is above MaxProcesses where that is too many.
func Processes(users int, limit uint64) int {
	each := uint64(portsPerAddr)
	if limit > 0 {
		each = min(each, max(limit, ownFiles+1)-ownFiles)
	}
	return int((uint64(users) + each - 1) / each)
}
