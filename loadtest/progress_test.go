package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/loadtest/attack"
)

func TestNoProgressWithoutTerminal(t *testing.T) {
	var out bytes.Buffer
	line := newProgress(&out)
	line.plan(time.Second)
	line.next("a")
	line.update(attack.Progress{Accepted: 1})
	line.clear()
	if out.Len() > 0 {
		t.Errorf("%q", out.String())
	}
}

func TestRemainingTime(t *testing.T) {
	line := newProgress(&bytes.Buffer{})
	line.plan(10*time.Second, 20*time.Second, 30*time.Second, 40*time.Second)
	line.next("first")
	if left := line.left().Round(time.Second); left != 100*time.Second {
		t.Errorf("at the start: %v", left)
	}
	line.since = line.since.Add(-20 * time.Second) // it took twice as long
	line.skip()
	line.next("third")
	if left := line.left().Round(time.Second); left != 110*time.Second {
		t.Errorf("in the third: %v, not 30 s of this one and 80 s of the next", left)
	}
	if text := line.text(": x"); !strings.HasPrefix(text, "[2/3] third: x, 1m50s left") {
		t.Errorf("%q", text)
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
