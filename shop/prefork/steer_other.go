//go:build unix && !linux

package prefork

import "errors"

// canShare says whether SO_REUSEPORT spreads connections here: elsewhere than on Linux one socket gets them all.
const canShare = false

func (s *sockets) steer([]int) error { return nil }

func (s *sockets) refuse() error { return errors.ErrUnsupported }

func (s *sockets) queued(int) (int, error) { return 0, errors.ErrUnsupported }
