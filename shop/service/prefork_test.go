package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"example.com/flashsale/shop/prefork"
)

func TestMaster(t *testing.T) {
	t.Parallel()
	cfg := &Config{Addr: "127.0.0.1:8080", ShutdownTimeout: 4 * time.Second}
	p := Processes{Processes: 3, Listen: "shared", MaxRequests: 1000}
	var stderr bytes.Buffer
	log := slog.New(slog.DiscardHandler)
	m := p.Master(cfg, log, &stderr)
	if m.Addr != cfg.Addr || m.Workers != 3 || m.Mode != "shared" || m.MaxRequests != 1000 || m.MaxRequestsJitter != 100 ||
		m.Log != log || m.Stderr != io.Writer(&stderr) {
		t.Errorf("Master() = %+v", m)
	}
	if m.StopTimeout <= cfg.ShutdownTimeout {
		t.Errorf("a worker is killed after %v, but may take %v to stop", m.StopTimeout, cfg.ShutdownTimeout)
	}
}

// TestMasterError: what another configuration can mend ends with 2, what a
// worker said itself is not repeated.
func TestMasterError(t *testing.T) {
	t.Parallel()
	cfg := config("", "none")
	ln, err := cfg.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	cfg.Addr = ln.Addr().String()
	_, taken := cfg.Listen(t.Context())
	wantConfigError(t, cfg.MasterError(fmt.Errorf("master: %w", errors.Unwrap(errors.Unwrap(taken)))), "cannot listen on "+cfg.Addr)

	wantConfigError(t, cfg.MasterError(&prefork.ExitError{Slot: 2, Code: prefork.BadConfigCode}), "what worker 2 said is above")

	crashed := &prefork.ExitError{Slot: 2, Code: 1}
	for _, err := range []error{nil, io.EOF, crashed} {
		if got := cfg.MasterError(err); !reflect.DeepEqual(got, err) {
			t.Errorf("MasterError(%v) = %v", err, got)
		}
	}
	var out bytes.Buffer
	if code := ExitCode(&out, "stage0-test", cfg.MasterError(crashed)); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
}
