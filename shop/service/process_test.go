package service

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/flashsale/shop/guard"
)

// patience bounds what these tests wait for; none should ever take so long.
const patience = 30 * time.Second

// childEnv names what this test binary does instead of testing.
const childEnv = "SERVICE_TEST_CHILD"

var children = map[string]func() int{
	"help": func() int {
		var cfg stageConfig
		return ExitCode(os.Stderr, spec.Stage, Parse(spec, &cfg, []string{"--help"}))
	},
	// A program whose default is another guard, as a master.
	"follow": func() int {
		other := spec
		other.Guard = guard.Conditional
		var cfg stageConfig
		err := Parse(other, &cfg, nil)
		if err == nil {
			err = cfg.Follow(slog.New(slog.NewTextHandler(os.Stdout, nil)))
		}
		fmt.Println("guard is", cfg.Guard)
		return ExitCode(os.Stdout, spec.Stage, err)
	},
	// It waits for a signal, says so, and then takes for ever to stop.
	"signals": func() int {
		ctx, stop := UntilSignal()
		defer stop()
		fmt.Println("started")
		<-ctx.Done()
		fmt.Println("stopping")
		<-time.After(patience)
		return 0
	},
}

func child(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// TestFollowKeepsTheGuard: SIGUSR2 to a program whose default guard is another one.
func TestFollowKeepsTheGuard(t *testing.T) {
	t.Parallel()
	const rehearsal, inherits = `FLASHSALE_MASTER={"rehearsal":true}`, `FLASHSALE_MASTER={"legacy":3}`
	const mutex, conditional = `{"Guard":"mutex","DatabaseURL":"postgres://a"}`, `{"Guard":"conditional","DatabaseURL":"postgres://a"}`
	for name, tt := range map[string]struct {
		env, says []string
		code      int
	}{
		"no master before":             {[]string{sellingEnv + "=" + mutex}, []string{"guard is conditional"}, 0},
		"rehearsal, the same":          {[]string{rehearsal, sellingEnv + "=" + conditional}, []string{"guard is conditional"}, 0},
		"rehearsal, another guard":     {[]string{rehearsal, sellingEnv + "=" + mutex}, []string{"could oversell"}, 2},
		"rehearsal, another database":  {[]string{rehearsal, sellingEnv + `={"Guard":"conditional","DatabaseURL":"postgres://b"}`}, []string{"could oversell"}, 2},
		"rehearsal, what is no guard":  {[]string{rehearsal, sellingEnv + "={"}, []string{"read " + sellingEnv}, 2},
		"inherits, another guard":      {[]string{inherits, sellingEnv + "=" + mutex}, []string{"guard is mutex", "stay as the workers have them"}, 0},
		"inherits from an old program": {[]string{inherits}, []string{"guard is conditional"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := child(t, "follow")
			cmd.Env = append(append(cmd.Env, "DATABASE_URL=postgres://a"), tt.env...)
			out, err := cmd.Output()
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit code %d (%v), want %d", code, err, tt.code)
			}
			for _, want := range tt.says {
				if !strings.Contains(string(out), want) {
					t.Errorf("it says %q, want %q", out, want)
				}
			}
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	out, err := child(t, "help").Output()
	if err != nil {
		t.Fatalf("%v, want exit code 0", err)
	}
	help := string(out)
	for _, s := range settings {
		if !strings.Contains(help, "--"+s.flag) || !strings.Contains(help, "$"+s.env) {
			t.Errorf("--help does not name --%s and $%s", s.flag, s.env)
		}
	}
	for _, name := range guard.Names() {
		if listed := regexp.MustCompile(`(?m)^ +` + name + ` +\S`).MatchString(help); listed == (name == guard.NoOp) {
			t.Errorf("guard %s listed: %v", name, listed)
		}
	}
	if !strings.Contains(help, spec.About) || !strings.Contains(help, "default mutex") {
		t.Error("--help does not say what the stage is and its guard")
	}
	for line := range strings.Lines(help) {
		if len(strings.TrimRight(line, "\n")) > 120 {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
}

// TestSignals: the first one asks to stop, the second one does not ask.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, signals := range [][2]syscall.Signal{{syscall.SIGTERM, syscall.SIGINT}, {syscall.SIGINT, syscall.SIGTERM}} {
		t.Run(signals[0].String(), func(t *testing.T) {
			t.Parallel()
			cmd := child(t, "signals")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for i, want := range []string{"started", "stopping"} {
				if !lines.Scan() || lines.Text() != want {
					t.Fatalf("it says %q, want %q", lines.Text(), want)
				}
				if err := cmd.Process.Signal(signals[i]); err != nil {
					t.Fatal(err)
				}
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
				t.Errorf("it ended with %v, want exit code 130", err)
			}
		})
	}
}

// TestUntilSignalStops: afterwards the context has ended and nobody watches.
func TestUntilSignalStops(t *testing.T) {
	t.Parallel()
	ctx, stop := UntilSignal()
	if ctx.Err() != nil {
		t.Error("it ended before a signal")
	}
	stop()
	<-ctx.Done()
}
