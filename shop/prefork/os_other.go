//go:build unix && !linux

package prefork

import (
	"errors"
	"os"
	"syscall"
)

// canShare says whether SO_REUSEPORT spreads connections here: elsewhere than on Linux one socket gets them all.
const canShare = false

// canUpgrade says whether a master can become another program here: that it loses no signal is only known of Linux.
const canUpgrade = false

func (s *sockets) steer([]int) error { return nil }

func (s *sockets) refuse() error { return errors.ErrUnsupported }

func (s *sockets) queued(int) (int, error) { return 0, errors.ErrUnsupported }

// processAttributes puts a worker into a process group of its own, so that a Ctrl-C in the terminal reaches the master
// alone.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// parentDeath would be the signal that this process gets when its parent dies.
const parentDeath = 0

func startUnblocked(start func() error) error { return start() }

func awaitEnd(int) {}

func memoryFile() (*os.File, error) { return nil, errors.ErrUnsupported }

func becomeProgram(Command, func(inherit) (string, error), func() bool) error {
	return errors.ErrUnsupported
}
