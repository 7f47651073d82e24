package conformance

import (
	"context"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// manyClients order at once while a stage is stopped, killed or interrupted.
const manyClients = 50

// plenty is a stock that no test sells out.
const plenty = 1_000_000

// testDrain stops the stage while orders wait for the row. They are finished and answered before it ends.
func testDrain(t *testing.T, s *suite) {
	f := s.start(t, "REQUEST_TIMEOUT=12s", s.patientGuard())
	product := f.product(10)
	release := f.hold(product)
	wait := f.beginHeard(f.buyers(product, 5))
	f.waitBlocked()
	pids := f.process.Tree()
	f.signal(syscall.SIGTERM)
	f.waitDraining()
	release()
	for _, a := range wait() {
		f.mustReceipt(a, http.StatusCreated)
	}
	if code := f.waitExit(patience); code != 0 {
		t.Errorf("exit code %d after a clean drain", code)
	}
	f.wantGone(pids)
	f.wantSold(product, 5, 5)
}

// testShutdownUnderLoad stops the stage while clients order. No accepted order is lost.
func testShutdownUnderLoad(t *testing.T, s *suite) {
	f := s.start(t)
	product := f.product(plenty)
	load := f.load(product, manyClients, false)
	load.waitAccepted(100)
	f.checkConnections()
	pids := f.process.Tree()
	f.signal(syscall.SIGTERM)
	if code := f.waitExit(patience); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	f.wantGone(pids)
	f.auditDrained(product, load.wait())
}

// auditDrained audits after a clean stop, which answers every order that it executes.
func (f *fixture) auditDrained(product int64, attempts []attempt) {
	f.Helper()
	if unanswered := f.audit(product, plenty, attempts); unanswered > 0 {
		f.Errorf("%d orders were executed and not answered", unanswered)
	}
}

// checkConnections counts the stage's sessions, which all bear its name.
func (f *fixture) checkConnections() {
	f.Helper()
	health, err := f.process.Health(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	sessions := f.number(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1`, f.name)
	if sessions < 1 || sessions > int64(health.DBConns) {
		f.Errorf("%d database sessions under the name %s, want 1 to %d", sessions, f.name, health.DBConns)
	}
}

// testSecondSignal stops the stage while an order keeps it from ending, and stops it again.
func testSecondSignal(t *testing.T, s *suite) {
	f := s.start(t, "REQUEST_TIMEOUT=30s", "SHUTDOWN_TIMEOUT=30s")
	product := f.product(10)
	f.hold(product)
	load := f.load(product, 1, false)
	f.waitBlocked()
	pids := f.process.Tree()
	f.signal(syscall.SIGTERM)
	f.waitDraining()
	select {
	case <-f.process.Exited():
		t.Fatalf("ended after one SIGTERM, with an order in flight and code %d", f.process.ExitCode())
	default:
	}
	f.signal(syscall.SIGTERM)
	if code := f.waitExit(atOnce); code == 0 {
		t.Error("exit code 0 after a second SIGTERM")
	}
	f.wantGone(pids)
	for _, a := range load.wait() {
		if a.placed() {
			t.Errorf("the order that was cut off was confirmed: %+v", a)
		}
	}
}

// testCtrlC runs the stage in a terminal and presses Ctrl-C there while clients order.
func testCtrlC(t *testing.T, s *suite) {
	f := s.prepare(t)
	keyboard, terminal, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(f.log, keyboard) // ends with the last process that has the terminal open
	}()
	t.Cleanup(func() {
		_ = keyboard.Close()
		<-read
	})
	f.spec.Terminal = terminal
	f.run()
	_ = terminal.Close()
	product := f.product(plenty)
	load := f.load(product, manyClients, false)
	load.waitAccepted(100)
	pids := f.process.Tree()
	if _, err := keyboard.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	if code := f.waitExit(patience); code != 0 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	f.wantGone(pids)
	f.auditDrained(product, load.wait())
}

func (f *fixture) signal(signal syscall.Signal) {
	f.Helper()
	if err := f.process.Signal(signal); err != nil {
		f.Fatal(err)
	}
}

// waitDraining waits until the stage takes no new work: it answers /ready with 503, or there is no talking to it any more,
// because it refuses or ignores new connections.
func (f *fixture) waitDraining() {
	f.Helper()
	eventually(f.T, "the stage takes no new work", func() bool {
		ctx, cancel := context.WithTimeout(f.Context(), atOnce/3)
		defer cancel()
		a, err := f.client.Send(ctx, http.MethodGet, "/ready", "", nil)
		return err != nil || a.Status == http.StatusServiceUnavailable
	})
}

// portFree says whether somebody else could listen where the stage did.
func portFree(addr string) bool {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	_ = listener.Close()
	return true
}
