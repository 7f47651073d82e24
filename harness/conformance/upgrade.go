package conformance

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.com/flashsale/harness/stage"
)

// nextVersion is what the program says of itself that a stage is upgraded to.
const nextVersion = "next"

// testUpgrade puts another program in the place of a stage's while clients order, and has the master become that: first
// one that is broken, which must change nothing, then a good one.
func testUpgrade(t *testing.T, s *suite) {
	if s.opt.Processes == 0 {
		t.Skipf("%s has no master", s.name)
	}
	f := s.prepare(t)
	f.spec.Binary = filepath.Join(t.TempDir(), s.name)
	f.install(s.binary)
	f.run()
	product := f.product(plenty)
	load := f.load(product, racers, true)
	load.waitAccepted(50)
	before, master := f.workers(), f.process.Pid()

	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("half a downl"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.install(broken)
	f.signal(syscall.SIGUSR2)
	eventually(t, "the upgrade is abandoned", func() bool { return strings.Contains(f.log.String(), "upgrade abandoned") })
	if now := f.workers(); !slices.Equal(now, before) {
		t.Errorf("after a broken program the workers are %v, want %v", now, before)
	}
	load.waitAccepted(50)

	f.install(build(t, s.name, nextVersion))
	f.signal(syscall.SIGUSR2)
	var health stage.Health
	eventually(t, "master and workers are the new program", func() (ok bool) {
		var err error
		health, err = f.process.Health(t.Context())
		return err == nil && health.MasterVersion == nextVersion && health.Version == nextVersion &&
			len(health.WorkerProcesses) == len(before) && !slices.ContainsFunc(health.WorkerProcesses, func(w stage.Worker) bool {
			return w.State != stage.Serving || slices.Contains(before, w.Pid)
		})
	})
	if health.MasterPid != master {
		t.Errorf("the master is process %d, want %d as before", health.MasterPid, master)
	}
	load.waitAccepted(50)
	attempts := load.stop()
	for _, a := range attempts {
		if !a.placed() {
			t.Errorf("order %s has no answer in the end but %d", a.Key, a.status)
		}
	}
	eventually(t, "/metrics counts the orders of all workers, those of the old program too", func() bool {
		_, ok := f.counts(f.orders(product))
		return ok
	})
	if err := f.process.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	f.audit(product, plenty, attempts)
}

// install puts a program in the place of the stage's, as a deployment does: beside it, then by renaming.
func (f *fixture) install(program string) {
	f.Helper()
	from, err := os.Open(program)
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(f.spec.Binary+".new", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		f.Fatal(err)
	}
	if _, err = io.Copy(to, from); err != nil {
		f.Fatal(err)
	}
	if err := to.Close(); err != nil {
		f.Fatal(err)
	}
	if err := os.Rename(to.Name(), f.spec.Binary); err != nil {
		f.Fatal(err)
	}
}

// testConfigurationFile starts the stage with a file. A stage with a master reads it again.
func testConfigurationFile(t *testing.T, s *suite) {
	f := s.prepare(t)
	file := filepath.Join(t.TempDir(), "stage.yaml")
	f.spec.Args = []string{"--config", file}
	f.spec.Env = slices.DeleteFunc(f.spec.Env, func(entry string) bool { return strings.HasPrefix(entry, "PROCESSES=") })
	processes := ""
	if s.opt.Processes > 0 {
		processes = "processes: 2\nmax-processes: 3\n"
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(processes + "user-latency: 1ms\nqueue-cap: 17\n")
	f.run()
	health, err := f.process.Health(t.Context())
	if err != nil || health.UserLatencyMS != 1 || health.QueueCap != 17 {
		t.Fatalf("%+v, %v: want what the file says", health, err)
	}
	if s.opt.Processes == 0 {
		return
	}
	f.reread(write)
	write("processes: 3\nmax-processes: 3\nuser-latency: 3ms\n")
	f.signal(syscall.SIGHUP)
	f.waitLog(`changed=processes`)
	f.waitHealth("the workers have read the file again", 2, 3)
	f.signal(syscall.SIGUSR2)
	f.waitHealth("the master has read the file again", 3, 3)
}

// reread has the workers replaced, by such that get ready and such that do not.
func (f *fixture) reread(write func(string)) {
	f.Helper()
	const processes = "processes: 2\nmax-processes: 3\n"
	write(processes + "user-latency: 2ms\n")
	f.signal(syscall.SIGHUP)
	f.waitHealth("the workers have read the file again", 2, 2)
	for want, content := range map[string]string{
		`reload refused: the workers stay as they are`: processes + "user-latncy: 3ms\n",
		`there is no setting \"user-latncy\"`:          processes + "user-latncy: 3ms\n",
		"reload abandoned: the new worker did not":     processes + "user-latency: 3ms\ndb-conns: 1\n", // less than its share
	} {
		write(content)
		f.signal(syscall.SIGHUP)
		f.waitLog(want)
		f.waitHealth("the workers are those of before", 2, 2)
	}
}

func (f *fixture) waitLog(want string) {
	f.Helper()
	eventually(f.T, "the log says "+want, func() bool { return strings.Contains(f.log.String(), want) })
}

// waitHealth waits until so many workers serve, and answer with that latency, in milliseconds, several times in a row.
func (f *fixture) waitHealth(what string, workers int, latency float64) {
	f.Helper()
	const often = 10
	row := 0
	eventually(f.T, what, func() bool {
		health, err := f.process.Health(f.Context())
		row++
		if err != nil || health.UserLatencyMS != latency || health.Processes != workers || len(health.WorkerProcesses) != workers ||
			slices.ContainsFunc(health.WorkerProcesses, func(w stage.Worker) bool { return w.State != stage.Serving }) {
			row = 0
		}
		return row == often
	})
}
