package httpapi

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.com/flashsale/shop/order"

	"go.yaml.in/yaml/v3"
)

// document is what these tests read of openapi.yaml.
type document struct {
	Paths      map[string]map[string]operation
	Components struct {
		Responses map[string]any
		Schemas   map[string]schema
	}
}

type operation struct {
	Parameters []struct {
		Name   string
		Schema schema
	}
	Responses map[string]any
}

type schema struct {
	Required   []string
	Properties map[string]schema
	Enum       []string
	Pattern    string
	Minimum    *int64
	Maximum    *int64
	MinLength  int `yaml:"minLength"`
	MaxLength  int `yaml:"maxLength"`
}

func readDocument(t *testing.T) document {
	t.Helper()
	var d document
	if err := yaml.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenAPIListsTheRoutes(t *testing.T) {
	t.Parallel()
	var written, served []string
	for path, operations := range readDocument(t).Paths {
		for method := range operations {
			written = append(written, strings.ToUpper(method)+" "+path)
		}
	}
	for _, r := range newServer(t, &fake{}).echo.Routes() {
		served = append(served, r.Method+" "+strings.ReplaceAll(r.Path, ":id", "{id}"))
	}
	slices.Sort(written)
	slices.Sort(served)
	if len(served) == 0 || !slices.Equal(written, served) {
		t.Errorf("openapi.yaml lists\n%v, the server has\n%v", written, served)
	}
}

// TestOpenAPIListsTheCodes: exactly those that this package can send.
func TestOpenAPIListsTheCodes(t *testing.T) {
	t.Parallel()
	sent := map[string]bool{}
	for _, kind := range allKinds(t) {
		sent[describe(&order.Error{Kind: kind}).Code] = true
	}
	for status := 400; status < 600; status++ {
		sent[httpCode(status)] = true
	}
	written := readDocument(t).Components.Schemas["Problem"].Properties["code"].Enum
	if got, want := slices.Sorted(slices.Values(written)), slices.Sorted(maps.Keys(sent)); !slices.Equal(got, want) {
		t.Errorf("openapi.yaml lists\n%v, the package sends\n%v", got, want)
	}
}

// TestOpenAPIListsTheStatuses: what a route can answer, it says.
func TestOpenAPIListsTheStatuses(t *testing.T) {
	t.Parallel()
	read := []string{"200", "400", "404", "500", "503", "504"}
	for route, want := range map[string][]string{
		"POST /orders":       {"200", "201", "400", "404", "409", "413", "415", "500", "503", "504"},
		"GET /orders/{id}":   read,
		"GET /products/{id}": read,
		"GET /health":        {"200"},
		"GET /ready":         {"200", "503"},
		"GET /metrics":       {"200"},
		"GET /openapi.yaml":  {"200"},
	} {
		method, path, _ := strings.Cut(route, " ")
		op := readDocument(t).Paths[path][strings.ToLower(method)]
		if got := slices.Sorted(maps.Keys(op.Responses)); !slices.Equal(got, want) {
			t.Errorf("%s: openapi.yaml lists %v, want %v", route, got, want)
		}
	}
}

// TestOpenAPISchemas: each answer has exactly the fields of its schema.
func TestOpenAPISchemas(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{
		place:   sells,
		order:   func(context.Context, int64) (order.Order, error) { return order.Order{}, nil },
		product: func(context.Context, int64) (order.Product, error) { return order.Product{}, nil },
	})
	s.cfg.Workers = func() []Worker { return []Worker{{}} }
	get := func(path string) *httptest.ResponseRecorder { return s.do(t, http.MethodGet, path, "") }
	schemas := readDocument(t).Components.Schemas
	for name, w := range map[string]*httptest.ResponseRecorder{
		"Receipt": s.post(t, validBody), "Order": get("/orders/1"), "Product": get("/products/1"), "Health": get("/health"), "Problem": get("/nowhere"),
	} {
		fields := slices.Sorted(maps.Keys(decode[map[string]any](t, w, w.Header().Get("Content-Type"))))
		if want := slices.Sorted(maps.Keys(schemas[name].Properties)); !slices.Equal(fields, want) {
			t.Errorf("%s: the answer has %v, the schema %v", name, fields, want)
		}
		required := slices.Clone(schemas[name].Required)
		switch name {
		case "Problem":
			required = append(required, "detail") // an internal error has none
		case "Health":
			required = append(required, "worker_processes") // only where there are several
		}
		slices.Sort(required)
		if !slices.Equal(fields, required) {
			t.Errorf("%s: the answer has %v, required are %v", name, fields, required)
		}
	}
}

// TestOpenAPIWorker: a worker in /health has exactly the fields of its schema, and they are what was handed in.
func TestOpenAPIWorker(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{})
	s.cfg.Processes = func() int { return 3 }
	s.cfg.Workers = func() []Worker { return []Worker{{Slot: 1, PID: 7, State: "serving", Requests: 5}} }
	health := decode[struct {
		Processes int
		Workers   []map[string]any `json:"worker_processes"`
	}](t, s.do(t, http.MethodGet, "/health", ""), "application/json")
	if health.Processes != 3 || len(health.Workers) != 1 || health.Workers[0]["pid"] != 7.0 || health.Workers[0]["state"] != "serving" {
		t.Fatalf("%+v", health)
	}
	fields := slices.Sorted(maps.Keys(health.Workers[0]))
	schema := readDocument(t).Components.Schemas["Worker"]
	if want := slices.Sorted(maps.Keys(schema.Properties)); !slices.Equal(fields, want) || len(schema.Required) != len(want) {
		t.Errorf("a worker has %v, the schema %v, of which %d are required", fields, want, len(schema.Required))
	}
}

// TestOpenAPIBounds: the rules of a request are those of package order.
func TestOpenAPIBounds(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	in := d.Components.Schemas["OrderRequest"]
	if got := slices.Sorted(maps.Keys(in.Properties)); !slices.Equal(got, []string{"price_cents", "product_id", "quantity", "user_id"}) {
		t.Errorf("a request has %v", got)
	}
	for field, limit := range map[string]int64{"quantity": order.MaxQuantity, "price_cents": order.MaxPriceCents} {
		p := in.Properties[field]
		if p.Minimum == nil || *p.Minimum != 1 || p.Maximum == nil || *p.Maximum != limit {
			t.Errorf("%s: from %v to %v, want 1 to %d", field, p.Minimum, p.Maximum, limit)
		}
	}
	post := d.Paths["/orders"]["post"]
	if len(post.Parameters) != 1 || post.Parameters[0].Name != keyHeader {
		t.Fatalf("parameters %+v", post.Parameters)
	}
	key := post.Parameters[0].Schema
	if key.MinLength != 1 || key.MaxLength != order.MaxKeyLength || key.Pattern != "^[ -~]+$" {
		t.Errorf("key: %+v", key)
	}
	if !strings.Contains(string(openAPI), strconv.Itoa(maxBody>>10)+" KiB") {
		t.Error("the limit of the body is not named")
	}
}
