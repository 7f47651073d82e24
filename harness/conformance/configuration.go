package conformance

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/flashsale/harness/stage"
)

// badConfiguration is a mistake that a stage must refuse to start with.
type badConfiguration struct {
	name  string
	spoil func(*testing.T, *stage.Spec)
	words []string // that the sentence must contain
	only  string   // for stages whose --help names this setting; empty: for all
}

// set returns a spoiler that sets one variable.
func set(entry string) func(*testing.T, *stage.Spec) {
	return func(_ *testing.T, spec *stage.Spec) { spec.Env = append(spec.Env, entry) }
}

func badConfigurations(name string) []badConfiguration {
	list := []badConfiguration{
		{"unknown guard", set("GUARD=nosuchguard"), []string{"nosuchguard", "conditional"}, ""},
		{"no database", func(_ *testing.T, spec *stage.Spec) { spec.DatabaseURL = "" }, []string{"DATABASE_URL", "make run/" + name}, ""},
		{"database URL that is none", func(_ *testing.T, spec *stage.Spec) { spec.DatabaseURL = "nonsense://x y" }, []string{"database"}, ""},
		{"database that does not exist", anotherDatabase, []string{"database", "nosuchdatabase"}, ""},
		{"unreachable database", unreachableDatabase, []string{"database"}, ""},
		{"port taken", takenPort, []string{"address already in use"}, ""},
		{"address that is none", func(_ *testing.T, spec *stage.Spec) { spec.Addr = "nonsense" }, []string{"nonsense"}, ""},
		{"no connections", set("DB_CONNS=0"), []string{"db-conns"}, ""},
		{"number that is none", set("DB_CONNS=many"), []string{"many"}, ""},
		{"no queue", set("QUEUE_CAP=-1"), []string{"queue-cap"}, ""},
		{"time-out that is none", set("REQUEST_TIMEOUT=soon"), []string{"soon"}, ""},
		{"negative latency", set("USER_LATENCY=-1s"), []string{"user-latency"}, ""},
		{"unknown log format", set("LOG_FORMAT=xml"), []string{"xml"}, ""},
		{"unknown flag", func(_ *testing.T, spec *stage.Spec) { spec.Args = []string{"--nosuchflag"} }, []string{"nosuchflag"}, ""},
		{"redlock without Redis", func(_ *testing.T, spec *stage.Spec) {
			spec.RedisURL, spec.Env = "", append(spec.Env, "GUARD=redlock")
		}, []string{"REDIS_URL", "redlock"}, ""},
		{"redlock with unreachable Redis", func(_ *testing.T, spec *stage.Spec) {
			spec.RedisURL, spec.Env = "redis://"+closedAddr, append(spec.Env, "GUARD=redlock")
		}, []string{"redis", "redlock"}, ""},
	}
	return append(list,
		badConfiguration{"no workers", set("WORKERS=0"), []string{"workers"}, "WORKERS"},
		badConfiguration{"no processes", set("PROCESSES=-1"), []string{"processes"}, "PROCESSES"},
		badConfiguration{"unknown way to listen", set("LISTEN=hopefully"), []string{"hopefully"}, "LISTEN"},
	)
}

// closedAddr is where nobody listens: nobody may use port 1 without being root, and nobody does.
const closedAddr = "127.0.0.1:1"

// secret is a password that must not show up in any message.
const secret = "s3cret-passw0rd"

func unreachableDatabase(_ *testing.T, spec *stage.Spec) {
	spec.DatabaseURL = "postgres://flashsale:" + secret + "@" + closedAddr + "/flashsale"
}

func anotherDatabase(t *testing.T, spec *stage.Spec) {
	address, err := url.Parse(spec.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	address.Path = "/nosuchdatabase"
	spec.DatabaseURL = address.String()
}

func takenPort(t *testing.T, spec *stage.Spec) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	spec.Addr = listener.Addr().String()
}

// testConfiguration starts the stage with one mistake at a time: exit code 2 and one clear sentence.
func testConfiguration(t *testing.T, s *suite) {
	f := s.prepare(t)
	help, err := f.command("--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	f.checkHelp(string(help))
	for _, bad := range badConfigurations(s.name) {
		if !strings.Contains(string(help), bad.only) {
			continue
		}
		f.sub(bad.name, func(f *fixture) {
			bad.spoil(f.T, &f.spec)
			process, err := stage.Launch(f.spec)
			if err != nil {
				f.Fatal(err)
			}
			f.process = process
			f.Cleanup(process.Kill)
			code := f.waitExit(patience)
			f.checkRefusal(code, process.Log(), bad.words)
		})
	}
	f.sub("check of nothing", (*fixture).checkNothing)
}

// checkRefusal looks for one sentence beside the lines of the log.
func (f *fixture) checkRefusal(code int, output string, words []string) {
	f.Helper()
	if code != 2 {
		f.Errorf("exit code %d, want 2", code)
	}
	sentences := slices.DeleteFunc(strings.Split(output, "\n"), func(line string) bool {
		return line == "" || strings.HasPrefix(line, "time=")
	})
	if len(sentences) != 1 {
		f.Errorf("want one clear sentence, got %d lines:\n%s", len(sentences), output)
	}
	said := strings.Join(sentences, " ")
	for _, word := range words {
		if !strings.Contains(strings.ToLower(said), strings.ToLower(word)) {
			f.Errorf("the sentence does not mention %q: %s", word, said)
		}
	}
	for _, word := range []string{secret, "goroutine ", "panic"} {
		if strings.Contains(output, word) {
			f.Errorf("the output contains %q: %s", word, output)
		}
	}
}

// checkHelp reads --help as a newcomer does.
func (f *fixture) checkHelp(help string) {
	f.Helper()
	for _, word := range append([]string{f.name, "--guard", "GUARD", "--database-url", "DATABASE_URL", "--request-timeout"}, f.opt.Guards...) {
		if !strings.Contains(help, word) {
			f.Errorf("--help does not mention %s", word)
		}
	}
}

// checkNothing asks whether a stage is ready where there is none.
func (f *fixture) checkNothing() {
	check := f.command("--check", "--addr", closedAddr)
	output, err := check.CombinedOutput()
	if code := check.ProcessState.ExitCode(); code != 1 || len(output) == 0 {
		f.Errorf("--check on no stage: exit code %d, %v, %q, want 1 and a sentence", code, err, output)
	}
}
