package compose

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/flashsale/harness/stage"
)

// TestComposeFile follows a user through docker-compose.yml. The order matters: Redis must not run before something asks
// for it, so the stages that do without come first.
func TestComposeFile(t *testing.T) {
	p := newProject(t)
	if _, err := p.try(t.Context(), buildTimeout, nil, "build"); err != nil {
		t.Fatal(err)
	}

	for _, number := range []int{1, 3, 4, 5} {
		t.Run(stage.Names[number-1], func(t *testing.T) {
			service := p.up(t, number)
			if got, want := p.running(t), []string{"postgres", service}; !slices.Equal(got, want) {
				t.Errorf("services that run: got %v, want just %v", got, want)
			}
			p.checkHardened(t, service)
			p.checkSettings(t, service)
			checkSafe(t, p.sell(t, service), number)
			p.stop(t, service)
		})
	}
	t.Run("a guard by hand brings Redis", func(t *testing.T) {
		service := p.up(t, 3, "GUARD=redlock")
		if got := p.health(t, service); got.Guard != "redlock" {
			t.Errorf("guard: got %q, want redlock", got.Guard)
		}
		checkSafe(t, p.sell(t, service), 3)
		p.stop(t, service)
	})
	t.Run(stage.Names[1], func(t *testing.T) {
		service := p.up(t, 2)
		p.checkSettings(t, service)
		checkSafe(t, p.sell(t, service), 2)
		checkSafe(t, p.sellFromHost(t, service), 2)
	})
	t.Run("a broken guard oversells", func(t *testing.T) {
		service := p.up(t, 2, "GUARD=none")
		got := p.sell(t, service)
		if got.Expected != "broken" || got.Audit.Verdict != "oversold" || got.Audit.Oversold <= 0 {
			t.Errorf("stage 2 without a guard: got %+v with audit %+v, want expected broken, oversold", got, *got.Audit)
		}
		p.stop(t, service)
	})
}

// up starts a stage with extra environment, waits until it is healthy, checks that it is the right one and returns the
// service's name.
func (p *project) up(t *testing.T, number int, env ...string) string {
	t.Helper()
	service := fmt.Sprintf("stage%d", number)
	p.compose(t, env, "up", "--detach", "--wait", "--wait-timeout", "90", service)
	if got, want := p.health(t, service).Stage, stage.Names[number-1]; got != want {
		t.Errorf("service %s: runs %q, want %q", service, got, want)
	}
	return service
}

// stop ends a stage as `docker compose stop` does. A stage that drains cleanly exits with 0.
func (p *project) stop(t *testing.T, service string) {
	t.Helper()
	p.compose(t, nil, "stop", service)
	if got := p.inspect(t, service, "{{.State.ExitCode}}"); got != "0" {
		t.Errorf("exit code of %s after SIGTERM: got %s, want 0", service, got)
	}
}

// checkHardened looks at what the container may do.
func (p *project) checkHardened(t *testing.T, service string) {
	t.Helper()
	const template = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}"
	if got, want := p.inspect(t, service, template), "65532:65532 true [ALL] [no-new-privileges:true]"; got != want {
		t.Errorf("rights of %s: got %q, want %q", service, got, want)
	}
}

// variable is how --help names the environment variable of a flag.
var variable = regexp.MustCompile(`\(\$([A-Z_]+)\)`)

// checkSettings wants every setting that the stage's --help names to be one that a caller of compose can give.
func (p *project) checkSettings(t *testing.T, service string) {
	t.Helper()
	help := p.compose(t, nil, "run", "--rm", "--no-TTY", "--no-deps", service, "--help")
	var model struct {
		Services map[string]struct {
			Environment map[string]*string `json:"environment"`
		} `json:"services"`
	}
	if err := json.Unmarshal([]byte(p.compose(t, nil, "config", "--format", "json", service)), &model); err != nil {
		t.Fatal(err)
	}
	settings := variable.FindAllStringSubmatch(help, -1)
	if len(settings) == 0 {
		t.Errorf("%s --help names no settings: %s", service, help)
	}
	for _, setting := range settings {
		name := setting[1]
		if name == "ADDR" || name == "CPU_PROFILE" { // the image's own port; the container cannot write
			continue
		}
		if _, ok := model.Services[service].Environment[name]; !ok {
			t.Errorf("docker-compose.yml does not pass %s on to %s", name, service)
		}
	}
}

// sell runs a short flash sale from the load generator's container and returns its result. The report has to lie on this
// machine and to belong to the caller.
func (p *project) sell(t *testing.T, service string) run {
	t.Helper()
	folder := strings.ReplaceAll(t.Name(), "/", "_")
	p.compose(t, nil, "run", "--rm", "--no-TTY", "loadtest", "run", "--target", "http://"+service+":8080",
		"--workload", "flash-sale", "--stock", "60", "--users", "32", "--duration", "20s", "--out", "/results/"+folder)
	for _, name := range []string{"result.json", "report.md", "report.html"} {
		path := filepath.Join(p.results, folder, name)
		if got := fileOwner(t, path); got != p.owner {
			t.Errorf("owner of %s: got user %d, want %d", path, got, p.owner)
		}
	}
	return readRun(t, filepath.Join(p.results, folder))
}

// sellFromHost does the same with a load generator outside of the containers, over the published ports.
func (p *project) sellFromHost(t *testing.T, service string) run {
	t.Helper()
	out := filepath.Join(t.TempDir(), "host")
	database := fmt.Sprintf("postgres://flashsale:flashsale@%s/flashsale", p.address(t, "postgres", "5432"))
	if _, err := p.run(t.Context(), nil, "go", "run", "./loadtest", "run", "--target", "http://"+p.address(t, service, "8080"),
		"--database-url", database, "--workload", "flash-sale", "--stock", "60", "--users", "32", "--out", out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(out, "report.html")); err != nil {
		t.Error(err)
	}
	return readRun(t, out)
}

// checkSafe wants everything sold, once.
func checkSafe(t *testing.T, got run, number int) {
	t.Helper()
	audit := *got.Audit
	if got.Stage != stage.Names[number-1] || got.Expected != "safe" || audit.Verdict != "ok" || audit.Sold != audit.Initial || got.Accepted != audit.Initial {
		t.Errorf("stage %d: got %+v with audit %+v, want expected safe, verdict ok and all sold", number, got, audit)
	}
}
