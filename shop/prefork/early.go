package prefork

import (
	"os"
	"os/signal"
	"syscall"
)

// early has the signals that came to a master which follows another, from the start of its program until Run: before main
// gets to them they would end the process. (Go's runtime unblocks these four when a program starts, whatever its mask is.)
var early = func() chan os.Signal {
	if !Inherits() {
		return nil
	}
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	return c
}()

// takeEarly ends that and returns them. The master heeds the same signals by now.
func takeEarly() []os.Signal {
	if early == nil {
		return nil
	}
	signal.Stop(early)
	var all []os.Signal
	for len(early) > 0 {
		all = append(all, <-early)
	}
	return all
}
