package chaos

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
	"example.com/flashsale/loadtest/audit"
	"example.com/flashsale/loadtest/database"
	"example.com/flashsale/loadtest/report"
)

func TestMain(m *testing.M) { os.Exit(backing.Main(m, backing.Options{Redis: true, Embedded: true})) }

// TestStages inflicts every fault on both stages that have a master. Times are not judged: the machine may be busy.
func TestStages(t *testing.T) {
	if testing.Short() {
		t.Skip("starts stages on a database, for a minute")
	}
	services := backing.ForTest(t)
	for _, name := range []string{"stage2-multiproc", "stage5-hybrid"} {
		t.Run(name, func(t *testing.T) {
			url, drop, err := backing.NewDatabase(t.Context(), services.Postgres.URL)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = drop(t.Context()) })
			binary, err := stage.Build(t.Context(), name, stage.BuildOptions{})
			if err != nil {
				t.Fatal(err)
			}
			db, err := database.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			var log bytes.Buffer
			var begun []string
			faults, err := Run(t.Context(), Config{
				Stage: name, Binary: binary, Database: url, Redis: services.Redis.URL, DB: db, Settings: []string{"DB_CONNS=8"},
				Faults: Names(), Duration: time.Second, Users: 8, Seed: 1, Lenient: 100, Log: &log,
				Progress: func(fault string) { begun = append(begun, fault) },
			})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(begun, Names()) {
				t.Errorf("begun: %v; want each fault once, and nothing else", begun)
			}
			var table bytes.Buffer
			if err := report.Terminal(&table, &report.Result{Faults: faults}, false); err != nil {
				t.Fatal(err)
			}
			t.Logf("\n%s", table.String())
			check(t, faults)
			if t.Failed() {
				t.Log(log.String())
			}
		})
	}
}

// check is the judgement, and that there was something to judge.
func check(t *testing.T, faults []report.Fault) {
	t.Helper()
	if len(faults) != len(Names()) {
		t.Fatalf("%d faults were inflicted, want %d", len(faults), len(Names()))
	}
	for _, f := range faults {
		if f.Lost() || len(f.Problems) > 0 || f.Verdict != string(audit.OK) {
			t.Errorf("%s: %s %v, audit %+v, by code %v", f.Fault, f.Verdict, f.Problems, f.Audit, f.ByCode)
		}
		if f.Requests != f.Accepted+f.Replayed+f.Rejected+f.Failed+f.Unknown || f.Requests != f.Orders+f.Retried {
			t.Errorf("%s: the attempts do not add up: %+v", f.Fault, f)
		}
		if f.Accepted == 0 || f.Audit.Sold < f.Accepted || f.Rejected > 0 {
			t.Errorf("%s: %d accepted, %d rejected, %d sold", f.Fault, f.Accepted, f.Rejected, f.Audit.Sold)
		}
		if Recovers(f.Fault) != (f.RecoveryMS != nil) || f.Times == 0 {
			t.Errorf("%s: inflicted %d times, recovery %v", f.Fault, f.Times, f.RecoveryMS)
		}
	}
}
