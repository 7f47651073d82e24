package httpapi

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/shop/order"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestGetProduct(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{product: func(ctx context.Context, id int64) (order.Product, error) {
		wantDeadline(t, ctx)
		return order.Product{ID: id, Name: "limited sneaker", PriceCents: 1999, Stock: 0}, nil
	}})
	w := s.do(t, http.MethodGet, "/products/9223372036854775807", "")
	if want := `{"id":9223372036854775807,"name":"limited sneaker","price_cents":1999,"stock":0}`; w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("status %d: %s, want %s", w.Code, w.Body, want)
	}
}

func TestGetOrder(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{order: func(ctx context.Context, id int64) (order.Order, error) {
		wantDeadline(t, ctx)
		return order.Order{ID: id, UserID: 1, ProductID: 7, Quantity: 2, TotalCents: 3998, Status: "created", CreatedAt: noon}, nil
	}})
	w := s.do(t, http.MethodGet, "/orders/5", "")
	want := `{"order_id":5,"user_id":1,"product_id":7,"quantity":2,"total_cents":3998,"status":"created","created_at":"2026-01-02T12:00:00.123456Z"}`
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != want || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d: %s, want %s", w.Code, w.Body, want)
	}
}

func wantDeadline(t *testing.T, ctx context.Context) {
	t.Helper()
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > testTimeout {
		t.Errorf("deadline %v %v, want one within %v", deadline, ok, testTimeout)
	}
}

func TestReadsFail(t *testing.T) {
	t.Parallel()
	for _, kind := range []order.Kind{order.OrderNotFound, order.ProductNotFound, order.Timeout, order.Overloaded, order.Internal} {
		err := &order.Error{Kind: kind, Detail: "for the buyer", Err: errors.New("secret")}
		s := newServer(t, &fake{
			order:   func(context.Context, int64) (order.Order, error) { return order.Order{}, err },
			product: func(context.Context, int64) (order.Product, error) { return order.Product{}, err },
		})
		for _, path := range []string{"/orders/5", "/products/5"} {
			w := s.do(t, http.MethodGet, path, "")
			wantProblem(t, w, answers[kind].status, answers[kind].code)
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("%s: the cause leaks: %s", path, w.Body)
			}
		}
	}
}

func TestPathIDs(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{}) // the reader must not be asked
	for _, id := range []string{"0", "-1", "x", "1.5", "1e3", "9223372036854775808", "0x10", "1_000", "%20", "%00", "1%2f2", "٣"} {
		for _, path := range []string{"/orders/", "/products/"} {
			wantProblem(t, s.do(t, http.MethodGet, path+id, ""), http.StatusBadRequest, "invalid_request")
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{}) // answers without the database
	w := s.do(t, http.MethodGet, "/health", "")
	got := decode[map[string]any](t, w, "application/json")
	if n, ok := got["goroutines"].(float64); !ok || n < 1 {
		t.Errorf("goroutines %v", got["goroutines"])
	}
	delete(got, "goroutines")
	want := map[string]any{
		"status": "ok", "stage": "stage0-test", "version": "1.2", "master_version": "1.1", "guard": "none", "expected": "broken", "pid": 7, "master_pid": 6, "processes": 2,
		"workers": 3, "db_conns": 8, "queue_cap": 64, "user_latency_ms": 1.5, "cpus": runtime.NumCPU(), "go_version": runtime.Version(),
	}
	if w.Code != 200 || !sameJSON(t, got, want) {
		t.Errorf("status %d: %s, want %v", w.Code, w.Body, want)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	up := error(nil)
	s := newServer(t, &fake{ping: func(ctx context.Context) error {
		wantDeadline(t, ctx)
		return up
	}})
	if w := s.do(t, http.MethodGet, "/ready", ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"status":"ready"}` {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	up = errors.New("secret")
	w := s.do(t, http.MethodGet, "/ready", "")
	if wantProblem(t, w, 503, "overloaded"); strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the cause leaks: %s", w.Body)
	}
	up = nil
	s.Drain()
	wantProblem(t, s.do(t, http.MethodGet, "/ready", ""), 503, "overloaded")
	s.Drain() // twice does no harm
	if w := s.do(t, http.MethodGet, "/health", ""); w.Code != 200 {
		t.Errorf("/health while draining: %d", w.Code)
	}
	s.fake.place = sells
	if w := s.post(t, validBody); w.Code != 201 {
		t.Errorf("an order while draining: %d", w.Code)
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	t.Parallel()
	w := newServer(t, &fake{}).do(t, http.MethodGet, "/openapi.yaml", "")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/yaml" || !bytes.Equal(w.Body.Bytes(), openAPI) {
		t.Errorf("status %d, header %v, %d bytes", w.Code, w.Header(), w.Body.Len())
	}
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{place: sells})
	s.post(t, validBody)
	w := s.do(t, http.MethodGet, "/metrics", "")
	for _, want := range []string{
		`flashsale_orders_total{outcome="accepted"} 1`, `flashsale_orders_total{outcome="timeout"} 0`,
		`flashsale_order_seconds_count{outcome="accepted"} 1`, "flashsale_orders_in_flight 0",
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("/metrics does not say %q", want)
		}
	}
}

// TestOutcomesAreCounted: each request once, under its own name.
func TestOutcomesAreCounted(t *testing.T) {
	t.Parallel()
	var err error
	replayed := false
	s := newServer(t, &fake{place: func(ctx context.Context, req order.Request) (order.Receipt, error) {
		r, _ := sells(ctx, req)
		r.Replayed = replayed
		return r, err
	}})
	want := map[string]float64{}
	for _, kind := range allKinds(t) {
		err = &order.Error{Kind: kind}
		s.post(t, validBody)
		want[answers[kind].code]++
	}
	err = nil
	s.post(t, validBody)
	want["accepted"]++
	replayed = true
	s.post(t, validBody)
	want["replayed"]++
	s.post(t, "") // refused before the model
	want["invalid_request"]++
	delete(want, "order_not_found") // no outcome of an order
	want["internal"]++
	for outcome, n := range want {
		if c, ok := s.seen.orders[outcome]; !ok {
			t.Errorf("no counter for %s", outcome)
		} else if got := testutil.ToFloat64(c); got != n {
			t.Errorf("%s: counted %v, want %v", outcome, got, n)
		}
	}
	if len(want) != len(outcomes) {
		t.Errorf("%d outcomes were tried, of %v", len(want), outcomes)
	}
}

// TestClientsErrorsAreNotOurs: a body that is too large, or of another type, is
// no failure of the service.
func TestClientsErrorsAreNotOurs(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{})
	s.post(t, strings.Repeat(" ", maxBody+1))
	s.do(t, http.MethodPost, "/orders", validBody, "Content-Type", "text/plain")
	if got := testutil.ToFloat64(s.seen.orders["internal"]); got != 0 {
		t.Errorf("%v internal errors were counted, want 0", got)
	}
	if got := testutil.ToFloat64(s.seen.orders["invalid_request"]); got != 2 {
		t.Errorf("%v invalid requests were counted, want 2", got)
	}
}

func TestInFlight(t *testing.T) {
	t.Parallel()
	var s *server
	s = newServer(t, &fake{place: func(ctx context.Context, req order.Request) (order.Receipt, error) {
		if n := testutil.ToFloat64(s.seen.inFlight); n != 1 {
			t.Errorf("%v orders in flight, want 1", n)
		}
		return sells(ctx, req)
	}})
	s.post(t, validBody)
	if n := testutil.ToFloat64(s.seen.inFlight); n != 0 {
		t.Errorf("%v orders in flight afterwards", n)
	}
}

// TestMetricsNeedTheirRegistry: two APIs on one registry would count each
// other's orders.
func TestMetricsNeedTheirRegistry(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	newMeters(reg)
	defer func() {
		if recover() == nil {
			t.Error("registered twice")
		}
	}()
	newMeters(reg)
}
