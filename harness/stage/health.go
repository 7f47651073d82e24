package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Health is the answer of GET /health. In stages 2 and 5 one of the workers answers for itself.
type Health struct {
	Status        string  `json:"status"`          // "ok"
	Stage         string  `json:"stage"`           // the folder's name
	Version       string  `json:"version"`         // of the program of the process that answered
	MasterVersion string  `json:"master_version"`  // of its master
	Guard         string  `json:"guard"`           // how stock is protected
	Expected      string  `json:"expected"`        // "safe" or "broken": what theory says of this guard in this stage
	Pid           int     `json:"pid"`             // the process that answered
	MasterPid     int     `json:"master_pid"`      // its master; equal to Pid in stages of one process
	Processes     int     `json:"processes"`       // that execute orders: the master does not count
	Workers       int     `json:"workers"`         // executors in each process
	DBConns       int     `json:"db_conns"`        // database connections at most, all processes together
	QueueCap      int     `json:"queue_cap"`       // orders that may wait, in each process
	UserLatencyMS float64 `json:"user_latency_ms"` // simulated time of a user look-up
	Goroutines    int     `json:"goroutines"`      // of the process that answered
	CPUs          int     `json:"cpus"`            // of the machine, as the stage sees it
	GoVersion     string  `json:"go_version"`

	WorkerProcesses []Worker `json:"worker_processes"` // of stages with a master: all of them
}

// Worker is one worker process of a stage with a master, as the master told the worker that answered.
type Worker struct {
	Slot       int      `json:"slot"` // a replacement has the same
	Pid        int      `json:"pid"`
	State      string   `json:"state"` // "starting", "serving", "leaving", "hung", "killed"
	AgeSeconds float64  `json:"age_seconds"`
	BootMS     *float64 `json:"boot_ms"`    // from its start until it served; nil: it does not yet
	Requests   uint64   `json:"requests"`   // as of its last heartbeat
	Generation int      `json:"generation"` // reloads before it was started
}

// Serving is the state of a worker that takes requests.
const Serving = "serving"

// healthTimeout bounds one GET /health or /ready. A stage that is busy answers late, but not that late.
const healthTimeout = 5 * time.Second

// client asks for health over a new connection each time: with SO_REUSEPORT it is the connection that chooses the
// worker, and a kept one would always ask the same.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}, Timeout: healthTimeout}

// GetHealth asks the stage at baseURL ("http://host:port") who it is. It blocks until the answer or a deadline of 5 s;
// the error says what was wrong with the answer. It may be called concurrently.
func GetHealth(ctx context.Context, baseURL string) (Health, error) {
	var health Health
	body, err := get(ctx, baseURL+"/health")
	if err != nil {
		return health, err
	}
	if err := json.Unmarshal(body, &health); err != nil {
		return health, fmt.Errorf("%s/health is not the health of a stage: %w", baseURL, err)
	}
	if health.Stage == "" {
		return health, fmt.Errorf("%s/health names no stage: something else answers there", baseURL)
	}
	return health, nil
}

// get returns the body of a 200 answer; every other answer is an error.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: status %d", url, response.StatusCode)
	}
	return body, nil
}
