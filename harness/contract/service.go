package contract

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

var serviceRules = []Rule{
	{Name: "health", Group: Service, Promise: "GET /health is 200 with status ok", check: checkHealth},
	{Name: "health-members", Group: Service, Promise: "GET /health has all members that openapi.yaml requires", after: []string{"health"}, check: checkHealthMembers},
	{Name: "ready", Group: Service, Promise: "GET /ready is 200 while orders are taken", check: checkReady},
	{Name: "metrics", Group: Service, Promise: "GET /metrics is Prometheus' text format", check: checkMetrics},
	{Name: "openapi", Group: Service, Promise: "GET /openapi.yaml is a description in OpenAPI 3", check: checkOpenAPI},
}

var answerRules = []Rule{
	{Name: "problem", Group: All, Promise: "every error answer is application/problem+json with type, title, status and code", check: checkProblems},
	{Name: "retry-after", Group: All, Promise: "every 503 says with Retry-After when to come again", check: checkRetryAfter},
}

// healthMembers are the members of /health and their JSON types.
var healthMembers = map[string]string{
	"status": "string", "stage": "string", "version": "string", "master_version": "string", "guard": "string", "expected": "string", "go_version": "string",
	"pid": "number", "master_pid": "number", "processes": "number", "workers": "number", "db_conns": "number", "queue_cap": "number",
	"user_latency_ms": "number", "goroutines": "number", "cpus": "number",
}

func (c *checking) health(ctx context.Context) (map[string]any, Answer, error) {
	a, err := c.send(ctx, http.MethodGet, "/health", "", nil)
	if err != nil {
		return nil, a, err
	}
	members, problem := object(a)
	if problem != "" {
		c.differ("GET /health", "200 and a JSON object", problem)
	}
	return members, a, nil
}

func checkHealth(ctx context.Context, c *checking) error {
	members, a, err := c.health(ctx)
	if err == nil && members != nil && members["status"] != "ok" {
		c.differ("GET /health", `status "ok"`, a.String())
	}
	return err
}

func checkHealthMembers(ctx context.Context, c *checking) error {
	members, _, err := c.health(ctx)
	if err != nil || members == nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(healthMembers)) {
		value, there := members[name]
		if got := jsonType(value); !there || got != healthMembers[name] {
			c.differ("GET /health", fmt.Sprintf("%s, a %s", name, healthMembers[name]), fmt.Sprintf("%v", value))
		}
	}
	if expected := members["expected"]; expected != "safe" && expected != "broken" {
		c.differ("GET /health", "expected safe or broken", fmt.Sprintf("%v", expected))
	}
	return nil
}

func jsonType(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	}
	return "other"
}

func checkReady(ctx context.Context, c *checking) error {
	a, err := c.send(ctx, http.MethodGet, "/ready", "", nil)
	if err == nil && a.Status != http.StatusOK {
		c.differ("GET /ready", "200", a.String())
	}
	return err
}

func checkMetrics(ctx context.Context, c *checking) error {
	const request = "GET /metrics"
	a, err := c.send(ctx, http.MethodGet, "/metrics", "", nil)
	if err != nil {
		return err
	}
	if a.Status != http.StatusOK || mediaType(a.Header) != "text/plain" {
		c.differ(request, "200, text/plain", fmt.Sprintf("%d, %s", a.Status, a.Header.Get("Content-Type")))
		return nil
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(a.Body))
	switch {
	case err != nil:
		c.differ(request, "Prometheus' text format", err.Error())
	case len(families) == 0:
		c.differ(request, "some figures", "none")
	}
	return nil
}

func checkOpenAPI(ctx context.Context, c *checking) error {
	a, err := c.send(ctx, http.MethodGet, "/openapi.yaml", "", nil)
	if err != nil {
		return err
	}
	// Whether it is true is what all the other rules ask.
	text := "\n" + string(a.Body)
	if a.Status != http.StatusOK || !strings.Contains(text, "\nopenapi: 3") && !strings.Contains(text, "\nopenapi: \"3") || !strings.Contains(text, "/orders") {
		c.differ("GET /openapi.yaml", "200, a description that begins with openapi: 3 and names /orders", a.String())
	}
	return nil
}

func checkProblems(_ context.Context, c *checking) error {
	if c.errors == 0 {
		return skipError{"no error answer was seen"}
	}
	c.findings = append(c.findings, c.problems...)
	return nil
}

func checkRetryAfter(_ context.Context, c *checking) error {
	if c.overloaded == 0 {
		return skipError{"no 503 was seen"}
	}
	c.findings = append(c.findings, c.hasty...)
	return nil
}
