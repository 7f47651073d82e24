// Package conformance is the suite that every stage passes, whatever its concurrency model: black-box tests of the HTTP
// contract, of the promises about stock and keys, and of starting and stopping, against the stage as a real process on a
// real Postgres and Redis. It knows the contract and the database's schema, and shares no code with the service.
//
// A stage's model_test.go calls it:
//
//	func TestMain(m *testing.M) { os.Exit(backing.Main(m, backing.Options{Redis: true, Embedded: true})) }
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, "stage3-threads", conformance.Options{Guards: []string{"mutex", "redlock", "rowlock", "conditional"}})
//	}
package conformance

import (
	"testing"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
)

// Options say what is special to a stage. Guards is required.
type Options struct {
	// Guards are the guards that are safe in this stage. The first is its default, with which all tests run that are not
	// about a guard.
	Guards []string
	// Processes is the number of workers to start a stage with that pre-forks; 0 for a stage of one process. It turns on
	// the tests of master and workers.
	Processes int
	// Env holds settings for all tests, such as "LISTEN=shared". A test's own settings win.
	Env []string
	// FullQueue holds the settings with which fewer than 32 orders at once fill the stage; nil means one executor and a
	// queue of one.
	FullQueue []string
	// Skip names tests that do not apply to the stage, each with the reason, which is printed.
	Skip map[string]string
}

// suite is what the tests of one stage share.
type suite struct {
	name     string
	binary   string
	services *backing.Services
	opt      Options
}

type group struct {
	name string
	run  func(*testing.T, *suite)
}

// groups lists the tests. Each starts its own stage on its own database, so they run in parallel.
var groups = []group{
	{"Contract", testContract},
	{"Errors", testErrors},
	{"Internal", testInternal},
	{"Health", testHealth},
	{"Metrics", testMetrics},
	{"Guards", testGuards},
	{"Timeouts", testTimeouts},
	{"FullQueue", testFullQueue},
	{"LostSessions", testLostSessions},
	{"Drain", testDrain},
	{"ShutdownUnderLoad", testShutdownUnderLoad},
	{"SecondSignal", testSecondSignal},
	{"CtrlC", testCtrlC},
	{"KilledWorker", testKilledWorker},
	{"KilledMaster", testKilledMaster},
	{"Upgrade", testUpgrade},
	{"Configuration", testConfiguration},
	{"ConfigurationFile", testConfigurationFile},
	{"Redis", testRedis},
}

// Run runs the suite against the stage as parallel subtests named after what they test. It builds the stage, with the
// race detector where there is one; else it logs why not. A data race in the stage fails the test that met it. The
// package's TestMain has to call backing.Main with Redis.
func Run(t *testing.T, stageName string, opt Options) {
	t.Helper()
	name, err := stage.Resolve(stageName)
	if err != nil {
		t.Fatal(err)
	}
	if len(opt.Guards) == 0 {
		t.Fatal("conformance.Options needs the stage's guards")
	}
	if opt.FullQueue == nil {
		opt.FullQueue = []string{"WORKERS=1", "QUEUE_CAP=1"}
	}
	s := &suite{name: name, binary: build(t, name, ""), services: backing.ForTest(t), opt: opt}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			if reason, ok := opt.Skip[group.name]; ok {
				t.Skip(reason)
			}
			t.Parallel()
			group.run(t, s)
		})
	}
}

// build builds the stage; version is what it says of itself, or empty.
func build(t *testing.T, name, version string) string {
	t.Helper()
	race := stage.RaceUnavailable(t.Context())
	if race != nil {
		t.Logf("%s is built without the race detector: %v", name, race)
	}
	binary, err := stage.Build(t.Context(), name, stage.BuildOptions{Race: race == nil, Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
