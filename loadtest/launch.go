package main

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/harness/stage"
)

const (
	// exitUsage is what a stage exits with when its configuration is wrong.
	exitUsage = 2
	// guardNoOp sells nothing: with it a stage shows what HTTP alone costs.
	guardNoOp = "noop"
)

// launcher builds and starts stages on the services of a command, all with the same settings.
type launcher struct {
	app      *app
	services *backing.Services
	url      string // of the database
	env      []string
	binaries map[string]string // by stage, once built
}

// build builds the stages, and says so for each.
func (l *launcher) build(stages []string, say func(string)) error {
	l.binaries = map[string]string{}
	for i, name := range stages {
		say(fmt.Sprintf("building %s (%d of %d)", name, i+1, len(stages)))
		binary, err := stage.Build(l.app.ctx, name, stage.BuildOptions{})
		if err != nil {
			return interruptedOr(l.app.ctx, err)
		}
		l.binaries[name] = binary
	}
	return nil
}

// start starts a stage on a free port and waits until it is ready. An empty guard is the stage's own.
func (l *launcher) start(name, guard string) (*stage.Process, error) {
	env := l.env
	if guard != "" {
		env = append(slices.Clip(env), "GUARD="+guard)
	}
	spec := stage.Spec{
		Name: name, Binary: l.binaries[name], Env: env, DatabaseURL: l.url, RedisURL: l.services.Redis.URL,
	}
	process, err := l.launch(spec)
	if err != nil && strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		process, err = l.launch(spec) // somebody took the port meanwhile: the next one is another
	}
	return process, err
}

// launch is stage.Start, with an error that tells a configuration that the stage refuses from a stage that fails.
func (l *launcher) launch(spec stage.Spec) (*stage.Process, error) {
	process, err := stage.Launch(spec)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(l.app.ctx, stageReadyTimeout)
	defer cancel()
	err = process.WaitReady(ctx)
	if err == nil {
		return process, nil
	}
	process.Kill()
	log := strings.TrimSpace(process.Log())
	if process.ExitCode() == exitUsage && !strings.Contains(log, "panic: ") { // which has the same code
		return nil, usagef("%s", lastLine(log))
	}
	return nil, fmt.Errorf("start %s: %w\n%s", spec.Name, err, log)
}

func lastLine(s string) string {
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// stageEnv are settings for the stages, from the command line.
type stageEnv map[string]string

// elsewhere says what sets a variable that --stage-env must not.
var elsewhere = map[string]string{
	"GUARD": "compare takes --guards", "DB_CONNS": "use --db-conns", "USER_LATENCY": "compare takes --user-latency",
	"ADDR": "each stage gets a free port", "DATABASE_URL": "set it in the environment of loadtest itself",
	"REDIS_URL": "set it in the environment of loadtest itself",
}

var envName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// parseStageEnv reads KEY=VALUE pairs.
func parseStageEnv(pairs []string) (stageEnv, error) {
	var env stageEnv
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok || !envName.MatchString(key) || value == "":
			return nil, usagef("--stage-env %q: use KEY=VALUE, as in QUEUE_CAP=2000,PROCESSES=1", pair)
		case elsewhere[key] != "":
			return nil, usagef("--stage-env cannot set %s: %s", key, elsewhere[key])
		case env[key] != "":
			return nil, usagef("--stage-env sets %s twice", key)
		case env == nil:
			env = stageEnv{}
		}
		env[key] = value
	}
	return env, nil
}

// settings returns the variables as a process takes them, sorted.
func (e stageEnv) settings() []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(e)) {
		out = append(out, key+"="+e[key])
	}
	return out
}

// describe is what a reader is told of them.
func (e stageEnv) describe() string {
	if len(e) == 0 {
		return ""
	}
	return " and " + strings.Join(e.settings(), " ")
}

// checkKnown refuses a setting that none of the stages has. A stage ignores what it does not know, so a slip of the pen
// would be measured as if it had been set.
func (l *launcher) checkKnown(env stageEnv) error {
	if len(env) == 0 {
		return nil
	}
	var known []string
	for _, binary := range l.binaries {
		help, err := exec.CommandContext(l.app.ctx, binary, "--help").Output()
		if err != nil {
			return interruptedOr(l.app.ctx, fmt.Errorf("ask %s for its settings: %w", binary, err))
		}
		for _, match := range helpEnv.FindAllStringSubmatch(string(help), -1) {
			known = append(known, match[1])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(env)) {
		if !slices.Contains(known, key) {
			return usagef("--stage-env %s: none of these stages has that setting; go run ./stage5-hybrid --help lists them", key)
		}
	}
	return nil
}

// helpEnv finds the variables in a stage's help.
var helpEnv = regexp.MustCompile(`\(\$([A-Z][A-Z0-9_]*)\)`)
