package service

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// startProfile begins a CPU profile where one is asked for. stop ends it and
// writes the file, named after stage and process.
func (c *Config) startProfile() (stop func(), err error) {
	if c.CPUProfile == "" {
		return func() {}, nil
	}
	name := filepath.Join(c.CPUProfile, fmt.Sprintf("%s-%d.pprof", c.stage, os.Getpid()))
	f, err := os.Create(name)
	if err != nil {
		return nil, badConfig("cannot write the CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}
