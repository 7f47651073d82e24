package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// The test binary runs itself as the processes that the tests need; FAKE says as which.
func TestMain(m *testing.M) {
	switch os.Getenv("FAKE") {
	case "":
		os.Exit(m.Run())
	case "stage":
		os.Exit(fakeStage())
	case "owner":
		os.Exit(fakeOwner())
	case "spinner":
		spin()
	}
}

// fakeStage answers like a stage. FAKE_EXIT makes it end at once with that code, FAKE_PID claim another pid, FAKE_DEAF
// ignore SIGTERM, FAKE_CODE end with that code on SIGTERM, FAKE_CHILD run a child that burns CPU time.
func fakeStage() int {
	fmt.Fprintln(os.Stderr, "fake stage, GUARD="+os.Getenv("GUARD"), "DATABASE_URL="+os.Getenv("DATABASE_URL"))
	if text := os.Getenv("FAKE_EXIT"); text != "" {
		fmt.Fprintln(os.Stderr, text)
		return 2
	}
	pid := os.Getpid()
	if os.Getenv("FAKE_PID") != "" {
		pid = 1
	}
	http.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(Health{Stage: "fake", MasterPid: pid, Goroutines: runtime.NumGoroutine()})
	})
	if os.Getenv("FAKE_CHILD") != "" {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "FAKE=spinner")
		child.SysProcAttr = ownGroup() // this thread is locked: see below
		runtime.LockOSThread()
		if err := child.Start(); err != nil {
			panic(err)
		}
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	go func() { fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Getenv("ADDR"), nil)) }()
	<-ctx.Done()
	if os.Getenv("FAKE_DEAF") != "" {
		select {}
	}
	if os.Getenv("FAKE_CODE") != "" {
		return 7
	}
	return 0
}

// fakeOwner starts a fake stage, prints its pid and waits to be killed.
func fakeOwner() int {
	process, err := Start(context.Background(), fakeSpec("FAKE=stage"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(process.Pid())
	select {}
}

func spin() {
	for start := time.Now(); time.Since(start) < time.Minute; {
		runtime.Gosched()
	}
}

func fakeSpec(env ...string) Spec {
	return Spec{Name: "fake", Binary: os.Args[0], Env: append([]string{"FAKE=stage"}, env...), ReadyTimeout: 10 * time.Second}
}

func startFake(t *testing.T, env ...string) *Process {
	t.Helper()
	process, err := Start(t.Context(), fakeSpec(env...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Kill)
	return process
}

// waitFor polls until the condition holds.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited 10 s for: %s", what)
		case <-tick.C:
		}
	}
}
