package prefork

import "time"

// State is where a worker is in its life; see the package comment.
type State string

// The states of a worker, in order of life.
const (
	Starting State = "starting" // executed, not ready yet
	Serving  State = "serving"  // ready
	Leaving  State = "leaving"  // told to stop
	Hung     State = "hung"     // its heartbeat stopped; it was told to abort
	Killed   State = "killed"   // SIGKILL was sent
)

// Member is one worker as the master sees it.
type Member struct {
	Slot       int       `json:"slot"`
	PID        int       `json:"pid"`
	State      State     `json:"state"`
	Started    time.Time `json:"started"`
	Ready      time.Time `json:"ready"`      // when it began to serve; zero: not yet
	Requests   uint64    `json:"requests"`   // served, as of its last heartbeat
	Generation int       `json:"generation"` // reloads, by SIGHUP or SIGUSR2, before it was started
}

// Roster is a snapshot of all workers, ordered by slot. Nobody changes it once it is made.
type Roster struct {
	MasterPID int      `json:"master_pid"`
	Addr      string   `json:"addr"`     // the address that the master listens on
	Wanted    int      `json:"wanted"`   // workers that there should be
	Started   bool     `json:"started"`  // all of them served at the same time at least once
	Upgrades  int      `json:"upgrades"` // how often the master has become another program (SIGUSR2)
	Workers   []Member `json:"workers"`  // all that run, those that leave too
}

// Ready reports whether as many workers serve as there should be.
func (r Roster) Ready() bool {
	return r.Wanted > 0 && r.Count(Serving) >= r.Wanted
}

// Count returns the number of workers in the state.
func (r Roster) Count(state State) int {
	n := 0
	for _, m := range r.Workers {
		if m.State == state {
			n++
		}
	}
	return n
}
