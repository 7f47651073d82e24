package prefork

import "time"

// workerEnv is the environment variable that makes a process a worker. Its value is a passport in JSON.
const workerEnv = "FLASHSALE_WORKER"

// Descriptors that a worker inherits, after the three standard ones.
const (
	controlFd  = 3 // socket to the master: messages both ways, end of file when either side is gone
	listenerFd = 4 // the slot's listening socket
)

// passport is what a worker knows from its start on.
type passport struct {
	Slot        int           `json:"slot"`
	Workers     int           `json:"workers"`
	MaxWorkers  int           `json:"max_workers"`
	MasterPID   int           `json:"master_pid"`
	Generation  int           `json:"generation"`
	Beat        time.Duration `json:"beat"`         // interval of the heartbeat
	MaxRequests uint64        `json:"max_requests"` // 0: no limit
}

// kind says what a report is about.
type kind string

const (
	reportReady   kind = "ready"
	reportBeat    kind = "beat"
	reportRecycle kind = "recycle"
	reportLeave   kind = "leave"
	reportExit    kind = "exit" // made by the master itself when the process has ended
)

// report is one message about a worker; from the worker itself as one line of JSON.
type report struct {
	Kind     kind     `json:"kind"`
	Requests uint64   `json:"requests,omitempty"`
	Busy     *float64 `json:"busy,omitempty"` // share of the time since the last report; nil: not measured

	exit exit
}
