package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/flashsale/harness/stage"
)

const (
	commandTimeout = 2 * time.Minute
	buildTimeout   = 15 * time.Minute // six images from nothing on two cores, downloads included
)

// project is a running copy of docker-compose.yml with names, ports and results of its own, so that it disturbs neither
// the one of the user nor another test.
type project struct {
	name    string
	root    string
	results string
	env     []string
	owner   uint32 // user whom the reports must belong to
}

// newProject skips the test where no engine answers, and takes down all that the project started when the test ends.
func newProject(t *testing.T) *project {
	t.Helper()
	requireEngine(t)
	root, err := stage.Root()
	if err != nil {
		t.Fatal(err)
	}
	p := &project{
		name:    fmt.Sprintf("flashsale-smoke-%d", os.Getpid()),
		root:    root,
		results: filepath.Join(t.TempDir(), "results"), // the engine makes it, as root, like ./results in a fresh clone
	}
	// Port 0: the engine picks a free one.
	p.env = []string{"COMPOSE_PROJECT_NAME=" + p.name, "RESULTS=" + p.results, "POSTGRES_PORT=0"}
	for number := range len(stage.Names) {
		p.env = append(p.env, fmt.Sprintf("STAGE%d_PORT=0", number+1))
	}
	p.chooseOwner(t)
	t.Cleanup(func() { p.down(t) })
	return p
}

// requireEngine skips the test, with the reason, where the engine or its compose command does not answer.
func requireEngine(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{{"version", "--format", "{{.Server.Version}}"}, {"compose", "version", "--short"}} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
		cancel()
		if err != nil {
			t.Skipf("no container engine answers: docker %s: %v: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
		t.Logf("docker %s: %s", args[0], bytes.TrimSpace(out))
	}
}

// chooseOwner says whom the reports must belong to. For root the right owner and the engine's own user would be the
// same, so root asks for another one.
func (p *project) chooseOwner(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		p.owner = 12345
		p.env = append(p.env, "RUN_AS=12345:12345")
		return
	}
	p.owner = fileOwner(t, filepath.Join(p.root, "docker-compose.yml"))
}

// compose runs one docker compose command with extra environment and returns its standard output. It fails the test with
// everything the command printed when the command fails.
func (p *project) compose(t *testing.T, env []string, args ...string) string {
	t.Helper()
	out, err := p.try(t.Context(), commandTimeout, env, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// try runs one docker compose command within a time and returns its standard output; the error holds what it printed.
func (p *project) try(ctx context.Context, limit time.Duration, env []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return p.run(ctx, env, "docker", append([]string{"compose", "--progress", "plain", "--profile", "loadtest"}, args...)...)
}

func (p *project) run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = p.root
	command.Env = slices.Concat(withoutSettings(os.Environ()), p.env, env)
	command.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// withoutSettings drops what would change the stages or the load generator from outside.
func withoutSettings(environment []string) []string {
	return slices.DeleteFunc(environment, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains([]string{"GUARD", "USER_LATENCY", "PROCESSES", "WORKERS", "DB_CONNS", "QUEUE_CAP", "RUN_AS",
			"DATABASE_URL", "REDIS_URL", "PGPASSWORD", "POSTGRES_PASSWORD", "COMPOSE_FILE", "COMPOSE_PROFILES"}, name)
	})
}

// down stops and removes everything of the project, and fails the test when something is left.
func (p *project) down(t *testing.T) {
	t.Helper()
	// The test's own context has ended when its cleanups run.
	ctx := context.WithoutCancel(t.Context())
	if t.Failed() {
		logs, _ := p.try(ctx, commandTimeout, nil, "logs", "--no-color", "--tail", "40")
		t.Logf("the last lines of every container:\n%s", logs)
	}
	if _, err := p.try(ctx, commandTimeout, nil, "down", "--volumes", "--rmi", "local", "--remove-orphans"); err != nil {
		t.Error(err)
	}
	filter := "label=com.docker.compose.project=" + p.name
	// An image that was built again, because a file changed during the test, has lost its name and is no longer the project's.
	if _, err := p.run(ctx, nil, "docker", "image", "prune", "--force", "--filter", filter); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"ps", "-aq"}, {"volume", "ls", "-q"}, {"network", "ls", "-q"}, {"image", "ls", "-q"}} {
		out, err := p.run(ctx, nil, "docker", append(args, "--filter", filter)...)
		if err != nil || strings.TrimSpace(out) != "" {
			t.Errorf("docker %s: left behind %q, error %v", strings.Join(args, " "), out, err)
		}
	}
}

// running returns the names of the services that run, sorted.
func (p *project) running(t *testing.T) []string {
	t.Helper()
	names := strings.Fields(p.compose(t, nil, "ps", "--services", "--status", "running"))
	slices.Sort(names)
	return names
}

// address returns host:port on this machine at which a service's container port is published.
func (p *project) address(t *testing.T, service, port string) string {
	t.Helper()
	return strings.TrimSpace(p.compose(t, nil, "port", service, port))
}

// inspect returns one template of `docker inspect` for a service's container, stopped ones too.
func (p *project) inspect(t *testing.T, service, template string) string {
	t.Helper()
	id := strings.TrimSpace(p.compose(t, nil, "ps", "-aq", service))
	out, err := p.run(t.Context(), nil, "docker", "inspect", "--format", template, id)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// health is the part of GET /health that the test looks at.
type health struct {
	Stage    string `json:"stage"`
	Guard    string `json:"guard"`
	Expected string `json:"expected"`
}

// health asks a stage over the port that is published on this machine.
func (p *project) health(t *testing.T, service string) health {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address(t, service, "8080")+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET /health of %s: status %d, error %v, body %s", service, response.StatusCode, err, body)
	}
	var state health
	if err := json.Unmarshal(body, &state); err != nil {
		t.Fatal(err)
	}
	return state
}

// run is the part of result.json that the test looks at.
type run struct {
	Stage    string `json:"stage"`
	Guard    string `json:"guard"`
	Expected string `json:"expected"`
	Accepted int64  `json:"accepted"`
	Audit    *struct {
		Initial  int64  `json:"initial"`
		Sold     int64  `json:"sold"`
		Oversold int64  `json:"oversold"`
		Verdict  string `json:"verdict"`
	} `json:"audit"`
}

// readRun returns the only run of result.json in a folder of results.
func readRun(t *testing.T, folder string) run {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		Schema int   `json:"schema"`
		Runs   []run `json:"runs"`
	}
	if err := json.Unmarshal(content, &result); err != nil {
		t.Fatal(err)
	}
	if result.Schema != 1 || len(result.Runs) != 1 || result.Runs[0].Audit == nil {
		t.Fatalf("want schema 1 with one audited run, got %s", content)
	}
	return result.Runs[0]
}

// fileOwner returns the user that a file belongs to.
func fileOwner(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	status, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal(errors.New("this system tells no file owners"))
	}
	return status.Uid
}
