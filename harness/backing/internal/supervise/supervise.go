// Package supervise runs a server program in a folder of its own, for exactly as long as its owner lives.
//
// The owner starts its own executable a second time; the copy is the supervisor, and it is the server's parent:
//
//	owner ──stdin: the job, then nothing until the end──▶ supervisor ──▶ setup program, then the server
//	owner ◀──stdout: events, one JSON object a line────── supervisor
//
// The owner holds the only write end of the supervisor's stdin. However the owner ends, SIGKILL included, the
// kernel closes that end; the supervisor reads EOF, stops the server, and removes the folder. Being the parent, the
// supervisor signals only a process that it has not yet waited for, so it never hits a stranger who got the same pid.
// If somebody kills the supervisor itself, Linux signals the server too (see parentDeath).
//
// The supervisor is chosen by init, before main and before the flags are parsed, when the environment variable
// FLASHSALE_SUPERVISOR is "1": so each program that imports this package can be one, test binaries too. This package
// imports the standard library alone, so its init runs before that of nearly everything else. The variable is not
// passed on to the server.
//
// Owner, supervisor and server are in three process groups: a Ctrl-C in a terminal reaches the owner alone.
package supervise

import (
	"encoding/json"
	"os"
	"syscall"
	"time"
)

// variable makes an executable that imports this package a supervisor.
const variable = "FLASHSALE_SUPERVISOR"

// title is what process lists show as the supervisor's first argument.
const title = "flashsale-supervisor"

// Job says what to run and how to end it.
type Job struct {
	Dir    string            // made by the supervisor (0700), removed at the end; its parent must exist
	Files  map[string]string // written into Dir (0600) before anything runs: name → content
	User   *User             // who runs the programs and owns Dir; nil is the owner's own user
	Setup  []string          // argument vector of a program that must succeed first; may be empty
	Run    []string          // argument vector of the server
	Env    []string          // the whole environment of both programs
	Log    string            // file in Dir that receives the output of both
	Stop   syscall.Signal    // asks the server to end; sent to its main process
	Grace  time.Duration     // how long it may take, before its process group gets SIGKILL
	Orphan syscall.Signal    // what the server gets when the supervisor is killed (Linux only)
}

// User is an unprivileged user to drop to.
type User struct {
	UID, GID uint32
}

// event is one line from the supervisor.
type event struct {
	Kind  string `json:"kind"`
	PID   int    `json:"pid,omitempty"`
	Error string `json:"error,omitempty"`
	Log   string `json:"log,omitempty"` // the last lines of the server's output
}

// Kinds of events: started at most once; then exited if the server ends by itself; ended is the last one.
const (
	started = "started"
	exited  = "exited"
	ended   = "ended"
)

func init() {
	if os.Getenv(variable) != "1" {
		return
	}
	// Still in init, the main goroutine is bound to the main thread. The server is started from here, so its
	// parent-death signal is tied to a thread that lives as long as the process.
	if err := os.Unsetenv(variable); err != nil {
		os.Exit(2)
	}
	os.Exit(supervise(os.Stdin, json.NewEncoder(os.Stdout)))
}
