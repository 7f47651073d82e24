package backing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// The images of docker-compose.yml.
const (
	postgresImage = "postgres:17"
	redisImage    = "redis:8"
)

const (
	engineTimeout    = 10 * time.Second // for a container engine to say that it is there
	terminateTimeout = 30 * time.Second
)

// ownerLabel marks our containers; its value is one Start's secret.
const ownerLabel = "flashsale.owner"

// containerPostgres and containerRedis run an image with the settings of their local counterparts.
func (m machine) containerPostgres(ctx context.Context) (started, error) {
	password := rand.Text()
	return m.runContainer(ctx, checkPostgres, server{
		image: postgresImage, port: "5432/tcp",
		env:  map[string]string{"POSTGRES_USER": superuser, "POSTGRES_DB": superuser, "POSTGRES_PASSWORD": password},
		args: []string{"postgres", "-c", "max_connections=200"},
		url:  func(host string) string { return postgresURL(host, password, superuser) },
	})
}

func (m machine) containerRedis(ctx context.Context) (started, error) {
	password := rand.Text()
	return m.runContainer(ctx, checkRedis, server{
		image: redisImage, port: "6379/tcp",
		args: []string{"redis-server", "--save", "", "--appendonly", "no", "--requirepass", password},
		url:  func(host string) string { return redisURL(host, password) },
	})
}

// server is what runs in a container.
type server struct {
	image, port string
	env         map[string]string
	args        []string
	url         func(host string) string
}

// runContainer starts a container and waits until check succeeds. Pulling the image is bounded by ctx alone.
func (m machine) runContainer(ctx context.Context, check check, s server) (started, error) {
	if !m.containers {
		return started{}, absentError("no container engine")
	}
	host, err := engine(ctx)
	if err != nil {
		return started{}, absentError("no container engine answers: " + strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	reaper, err := startReaper()
	if err != nil {
		return started{}, err
	}
	c, err := testcontainers.Run(ctx, s.image, s.options(host, reaper.label)...)
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), terminateTimeout)
		defer cancel()
		// No time to stop in: there is nothing to save. If this fails, the reaper tries, and its word counts.
		return reaper.finish(c.Terminate(ctx, testcontainers.StopTimeout(0)) == nil)
	}
	if err != nil {
		return started{}, errors.Join(err, stop())
	}
	url, version, err := s.answers(ctx, c, check)
	if err != nil {
		return started{}, errors.Join(err, stop())
	}
	return started{url: url, version: version, note: s.image + ", throw-away", stop: stop}, nil
}

func (s server) options(host, label string) []testcontainers.ContainerCustomizer {
	return []testcontainers.ContainerCustomizer{
		testcontainers.WithEnv(s.env),
		testcontainers.WithCmd(s.args...),
		testcontainers.WithExposedPorts(s.port),
		testcontainers.WithLabels(map[string]string{ownerLabel: label}),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.ShmSize = 128 << 20 // as in docker-compose.yml; the default is half of that
			if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
				// Without this, Docker publishes the port on all addresses of the machine.
				h.PortBindings = network.PortMap{network.MustParsePort(s.port): {{HostIP: ip, HostPort: "0"}}}
			}
		}),
	}
}

// answers waits until check succeeds, the container ends, or ctx does.
func (s server) answers(ctx context.Context, c *testcontainers.DockerContainer, check check) (url, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	address, err := c.PortEndpoint(ctx, s.port, "")
	if err != nil {
		return "", "", errors.Join(over(ctx, c), err)
	}
	url = s.url(strings.Replace(address, "localhost:", "127.0.0.1:", 1))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		version, err = check.within(ctx, checkTimeout, url)
		if err == nil {
			return url, version, nil
		}
		if err := over(ctx, c); err != nil {
			return "", "", err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", "", fmt.Errorf("it does not answer: %w", err)
		}
	}
}

// over is an error if the container has ended.
func over(ctx context.Context, c *testcontainers.DockerContainer) error {
	if state, err := c.State(ctx); err == nil && !state.Running {
		return fmt.Errorf("the container ended with exit code %d%s", state.ExitCode, lastWords(ctx, c))
	}
	return nil
}

// lastWords is the end of a container's log, for an error message.
func lastWords(ctx context.Context, c *testcontainers.DockerContainer) string {
	logs, err := c.Logs(ctx)
	if err != nil {
		return ""
	}
	defer func() { _ = logs.Close() }()
	data, err := io.ReadAll(io.LimitReader(logs, 1<<20))
	if err != nil || len(data) == 0 {
		return ""
	}
	return "; its last words:\n" + strings.TrimSpace(string(data[max(0, len(data)-2048):]))
}

var quietTestcontainers = sync.OnceFunc(func() { log.SetDefault(log.NewNoopLogger()) })

// engine asks whether a container engine answers, and returns the host on which it publishes ports.
func engine(ctx context.Context) (host string, err error) {
	// testcontainers panics where it finds no engine it can use; that must not end a program that has other ways.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	quietTestcontainers()
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	api, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, api.Close()) }()
	if _, err := api.Ping(ctx, client.PingOptions{}); err != nil {
		return "", err
	}
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, provider.Close()) }()
	host, err = provider.DaemonHost(ctx)
	if host == "localhost" {
		host = "127.0.0.1"
	}
	return host, err
}
