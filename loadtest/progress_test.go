package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/report"
)

// TestNoProgressWithoutTerminal: neither view nor line, with or without --plain.
func TestNoProgressWithoutTerminal(t *testing.T) {
	for _, plain := range []bool{false, true} {
		var out, other bytes.Buffer
		a := &app{ctx: t.Context(), getenv: func(string) string { return "xterm" }, stdout: &other, stderr: &out}
		p := newProgress(a, "run", &liveFlags{Plain: plain})
		if err := p.open(); err != nil {
			t.Fatal(err)
		}
		p.plan(time.Second)
		p.say("building")
		p.next("a")
		p.update(attack.Progress{Accepted: 1})
		if p.watched() {
			t.Error("nobody watches")
		}
		p.close("")
		if out.Len() > 0 || other.Len() > 0 {
			t.Errorf("%q, %q", out.String(), other.String())
		}
	}
}

func TestLiveAddress(t *testing.T) {
	for addr, want := range map[string]string{"": "", "9090": "127.0.0.1:9090", "0.0.0.0:1": "0.0.0.0:1"} {
		f := liveFlags{Live: addr}
		if err := f.checkLive(); err != nil || f.Live != want {
			t.Errorf("%q: %q, %v", addr, f.Live, err)
		}
	}
	for _, command := range []string{"run", "compare", "capacity", "chaos"} {
		var stderr bytes.Buffer
		if code := run(t.Context(), []string{command, "--live", "nowhere"}, os.Getenv, io.Discard, &stderr); code != report.ExitUsage || !strings.Contains(stderr.String(), `--live: "`) {
			t.Errorf("%s: exit code %d, %s", command, code, stderr.String())
		}
	}
}

func TestPasswordStaysOutOfTheReport(t *testing.T) {
	for _, args := range [][]string{
		{"run", "--database-url", "postgres://u:secret@h/d", "--users", "3"},
		{"run", "--database-url=postgres://u:secret@h/d", "--users", "3"},
	} {
		if text := commandText(args); strings.Contains(text, "secret") || !strings.HasSuffix(text, "--users 3") {
			t.Errorf("%q", text)
		}
	}
}

func TestReachable(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", ":80": "http://127.0.0.1:80", "0.0.0.0:80": "http://127.0.0.1:80",
		"[::]:80": "http://127.0.0.1:80", "[::1]:80": "http://[::1]:80", "host:1": "http://host:1",
	} {
		if got := reachable(addr); got != want {
			t.Errorf("%s: %s, not %s", addr, got, want)
		}
	}
}
