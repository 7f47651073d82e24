package supervise

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Reexec prepares a second instance of this program, in a process group of its own, with one more environment
// variable by which an init function recognises it. Its arguments are only what process lists show.
func Reexec(variable, value string, args ...string) (*exec.Cmd, error) {
	exe, err := executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Args = args
	// A program built with the race detector sleeps for a second when it ends, unless told not to.
	cmd.Env = append(os.Environ(), variable+"="+value, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

// executable is the running program. On Linux it names the file by what the kernel has mapped: the path of `go test`
// and `go run` binaries can be gone, or be another build, while the program still runs.
func executable() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}
