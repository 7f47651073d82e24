package backing

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// containers lists those of ours that publish the port of url.
func containers(t *testing.T, url string) []string {
	t.Helper()
	api, err := testcontainers.NewDockerClientWithOpts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = api.Close() }()
	list, err := api.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", ownerLabel)})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(hostOf(t, url), ":")
	var found []string
	for _, c := range list.Items {
		for _, p := range c.Ports {
			if port == strconv.Itoa(int(p.PublicPort)) {
				found = append(found, c.Image+" on "+p.IP.String())
			}
		}
	}
	return found
}

func TestContainers(t *testing.T) {
	t.Parallel()
	needsEngine(t)
	m := containerMachine(bareMachine(t.TempDir()))
	var out bytes.Buffer
	s, err := start(t.Context(), Options{Redis: true, Embedded: true, Out: &out}, m)
	if err != nil {
		t.Fatal(err)
	}
	for url, image := range map[string]string{s.Postgres.URL: postgresImage, s.Redis.URL: redisImage} {
		if got := containers(t, url); len(got) != 1 || !strings.HasPrefix(got[0], image) {
			t.Errorf("containers %v, want one of %s", got, image)
		}
	}
	if s.Postgres.Source != Container || s.Redis.Source != Container || s.Redis.Version == "" {
		t.Errorf("%+v, %+v", s.Postgres, s.Redis)
	}
	if !strings.Contains(out.String(), "(postgres:17, throw-away)") {
		t.Errorf("output %q", out.String())
	}
	if got := query(t, s.Postgres.URL, "SHOW max_connections"); got != "200" {
		t.Errorf("max_connections %s, want as with local binaries", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, url := range []string{s.Postgres.URL, s.Redis.URL} {
		if got := containers(t, url); len(got) > 0 {
			t.Errorf("left behind: %v", got)
		}
	}
}

func TestKilledOwnerOfContainers(t *testing.T) {
	t.Parallel()
	needsEngine(t)
	o := spawnReady(t, ownerConfig{Cache: t.TempDir(), Container: true, Redis: true})
	if len(containers(t, o.postgres.URL)) != 1 || len(containers(t, o.redis.URL)) != 1 {
		t.Fatal("containers cannot be seen: the checks below would prove nothing")
	}
	o.kill(t)
	eventually(t, "containers removed", func() bool {
		return len(containers(t, o.postgres.URL)) == 0 && len(containers(t, o.redis.URL)) == 0
	})
}

func TestContainerThatEnds(t *testing.T) {
	t.Parallel()
	needsEngine(t)
	m := containerMachine(bareMachine(t.TempDir()))
	_, err := m.runContainer(t.Context(), checkPostgres, server{
		image: postgresImage, port: "5432/tcp",
		args: []string{"sh", "-c", "echo no luck today; exit 3"},
		url:  func(host string) string { return postgresURL(host, "x", superuser) },
	})
	if err == nil || !strings.Contains(err.Error(), "no luck today") {
		t.Errorf("error %v, want the container's last words", err)
	}
}

func TestNoEngine(t *testing.T) {
	if _, err := engine(context.Background()); err == nil {
		t.Skip("an engine answers")
	}
	m := containerMachine(bareMachine(t.TempDir()))
	if _, err := start(t.Context(), Options{}, m); err == nil || !strings.Contains(err.Error(), "container: no container engine answers") {
		t.Errorf("error %v, want that no engine answers", err)
	}
}
