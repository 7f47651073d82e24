package prefork

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The test binary is its own worker, and where a test kills the master, its own master.

const (
	behaviourEnv = "PREFORK_TEST_BEHAVIOUR"
	masterEnv    = "PREFORK_TEST_MASTER"
	busyEnv      = "PREFORK_TEST_BUSY" // a file: while it exists the workers say that they are busy
)

// How a worker of the tests behaves.
const (
	behaveWell      = "well"
	badConfig       = "bad config"        // exit code 2 before ready
	crashEarly      = "crash early"       // exit code 7 before ready
	neverReady      = "never ready"       // alive, silent, and deaf to SIGTERM
	stubborn        = "stubborn"          // serves, but does not stop
	failAfterReload = "fail after reload" // serves, but not when started by a reload
)

func TestMain(m *testing.M) {
	if w, ok := Child(); ok {
		os.Exit(workerMain(w, os.Getenv(behaviourEnv)))
	}
	if os.Getenv(masterEnv) != "" {
		os.Exit(masterMain())
	}
	os.Exit(m.Run())
}

// masterMain is a program as a user of the package writes it. It prints each roster as a line of JSON.
func masterMain() int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	slog.Info("master starts", "parent_death", parentDeath)
	out := json.NewEncoder(os.Stdout)
	err := Run(ctx, Config{
		Addr: "127.0.0.1:0", Workers: 2, Stdout: os.Stderr,
		OnChange: func(r Roster) { _ = out.Encode(r) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func workerMain(w *Worker, behaviour string) int {
	switch {
	case behaviour == badConfig, behaviour == failAfterReload && w.Generation > 0:
		fmt.Fprintln(os.Stderr, "the database does not answer")
		return BadConfigCode
	case behaviour == crashEarly:
		fmt.Fprintln(os.Stderr, "no luck")
		return 7
	case behaviour == neverReady:
		select {}
	}
	ln, err := w.Listener()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	server := NewServer(&http.Server{Handler: handler(w)})
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(ln) }()
	w.MeasureBusy(func() float64 {
		if _, err := os.Stat(os.Getenv(busyEnv)); err != nil {
			return 0
		}
		return 1
	})
	w.GiveAway(server.Shed)
	if err := w.Ready(); err != nil {
		return 1
	}
	ctx := w.Context(context.Background())
	select {
	case err = <-serving:
		fmt.Fprintln(os.Stderr, err)
		return 1
	case <-ctx.Done():
	}
	if behaviour == stubborn {
		select {}
	}
	slog.Info("worker stops", "slot", w.Slot, "cause", context.Cause(ctx)) // must not kill it when the master is gone
	stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		return 1
	}
	return 0
}

// who is the answer of a worker to GET /.
type who struct {
	Slot, PID, PGID, Parent, MasterPID, Workers int
}

func handler(w *Worker) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(rw http.ResponseWriter, req *http.Request) {
		defer w.Count()
		// A client that wants to keep the request in flight holds its body back, and is told who has it.
		if req.Header.Get("Expect") != "" {
			rw.Header().Set("Slot", strconv.Itoa(w.Slot))
			rw.WriteHeader(http.StatusEarlyHints)
		}
		_, _ = io.Copy(io.Discard, req.Body)
		_ = json.NewEncoder(rw).Encode(who{w.Slot, os.Getpid(), syscall.Getpgrp(), os.Getppid(), w.MasterPID, w.Workers()})
	})
	mux.HandleFunc("/roster", func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(w.Roster())
	})
	mux.HandleFunc("/mute", func(http.ResponseWriter, *http.Request) {
		w.BeatIf(func() bool { return false })
	})
	mux.HandleFunc("/exit", func(_ http.ResponseWriter, req *http.Request) {
		if req.FormValue("pid") == strconv.Itoa(os.Getpid()) {
			os.Exit(2) // as after a panic
		}
	})
	return mux
}
