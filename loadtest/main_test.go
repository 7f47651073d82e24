package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.com/flashsale/harness/contract/contracttest"
	"example.com/flashsale/harness/stage"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"loadtest": main})
}

// TestScripts runs what needs no service and no stage.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"service": service, "reached": reached, "shop": shop},
		Setup: func(env *testscript.Env) error {
			env.Values[servedKey{}] = new(atomic.Int64)
			return nil
		},
	})
}

// TestStageScripts drives a real stage on real services.
func TestStageScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a database and builds a stage")
	}
	root, err := stage.Root()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/stage", RequireExplicitExec: true,
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"waitready": waitReady, "disguise": disguise, "ceilings": ceilings, "judged": judged},
		Setup: func(env *testscript.Env) error { return stageEnvironment(env, root) },
	})
}

// stageEnvironment lets a script build and start stages of this clone: what the go command needs, a cache folder of its
// own (so that no other test's database is found), and a free address for a stage.
func stageEnvironment(env *testscript.Env, root string) error {
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	values := strings.Split(string(out), "\n")
	for i, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS"} {
		env.Setenv(name, values[i])
	}
	addr, err := stage.FreeAddr()
	if err != nil {
		return err
	}
	env.Setenv("ROOT", root)
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
	env.Setenv("ADDR", addr)
	for _, name := range []string{"DATABASE_URL", "REDIS_URL"} { // where the caller has chosen services, they serve here too
		if value := os.Getenv(name); value != "" {
			env.Setenv(name, value)
		}
	}
	return nil
}

// waitReady is the command "waitready URL": it waits until a stage there is ready.
func waitReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitready URL")
	}
	ready := func() bool {
		response, err := http.Get(args[0] + "/ready")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
	if !eventually(ready, 2*time.Minute) {
		ts.Fatalf("%s is not ready", args[0])
	}
}

// disguise is the command "disguise URL": it puts a service before a stage that hides that it is one, and its address
// into $TARGET.
func disguise(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: disguise URL")
	}
	to, err := url.Parse(args[0])
	ts.Check(err)
	mux := http.NewServeMux()
	mux.HandleFunc("/health", http.NotFound)
	mux.Handle("/", httputil.NewSingleHostReverseProxy(to))
	server := httptest.NewServer(mux)
	ts.Defer(server.Close)
	ts.Setenv("TARGET", server.URL)
}

// servedKey is that of the number of orders that all services of a script have got. Scripts run side by side, and the
// orders of one say nothing about another's.
type servedKey struct{}

// service is the command "service [answer]": it starts something that answers HTTP and puts its address into $TARGET.
// "orders" is a service with the API of a stage that is none, "text" anything else, "none" an address where nobody is.
func service(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: service orders|text|none")
	}
	served := ts.Value(servedKey{}).(*atomic.Int64)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "hello") })
	switch args[0] {
	case "text":
	case "orders":
		mux.HandleFunc("POST /orders", func(w http.ResponseWriter, _ *http.Request) {
			id := served.Add(1)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			_, _ = fmt.Fprintf(w, `{"order_id":%d,"status":"created","total_cents":1999,"created_at":"2026-11-23T12:00:00Z"}`, id)
		})
	case "none":
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Setenv("TARGET", "http://"+listener.Addr().String())
		ts.Check(listener.Close())
		return
	default:
		ts.Fatalf("unknown service %s", args[0])
	}
	server := httptest.NewServer(mux)
	ts.Defer(server.Close)
	ts.Setenv("TARGET", server.URL)
}

// shop is the command "shop [defect]": it starts a service that keeps the contract, or breaks one rule of it, and puts its
// address into $TARGET. Of its product 2 there are 30 units, of product 3 none.
func shop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: shop [defect]")
	}
	keeper := contracttest.New(strings.Join(args, ""))
	for _, stock := range []int64{30, 0} {
		_, err := keeper.Make(context.Background(), stock)
		ts.Check(err)
	}
	server := httptest.NewServer(keeper)
	ts.Defer(server.Close)
	ts.Setenv("TARGET", server.URL)
}

// reached is the command "reached": it waits until a service has got an order.
func reached(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: reached")
	}
	served := ts.Value(servedKey{}).(*atomic.Int64)
	before := served.Load()
	if !eventually(func() bool { return served.Load() > before }, 20*time.Second) {
		ts.Fatalf("no order came")
	}
}

// eventually asks until the answer is yes.
func eventually(yes func() bool, limit time.Duration) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !yes() {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
	return true
}

// TestSharesNoCodeWithTheService keeps the auditor independent: a bug in the shop must not blind it.
func TestSharesNoCodeWithTheService(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dependency := range strings.Lines(string(out)) {
		if strings.HasPrefix(dependency, "example.com/flashsale/shop") {
			t.Errorf("depends on %s", strings.TrimSpace(dependency))
		}
	}
}
