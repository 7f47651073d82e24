package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/flashsale/shop/order"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a Placer and a Reader without anything behind them.
type fake struct {
	place   func(context.Context, order.Request) (order.Receipt, error)
	order   func(context.Context, int64) (order.Order, error)
	product func(context.Context, int64) (order.Product, error)
	ping    func(context.Context) error

	mu     sync.Mutex
	placed []order.Request
}

var errNotExpected = errors.New("the test did not expect this call")

func (f *fake) Place(ctx context.Context, req order.Request) (order.Receipt, error) {
	f.mu.Lock()
	f.placed = append(f.placed, req)
	f.mu.Unlock()
	if f.place == nil {
		return order.Receipt{}, errNotExpected
	}
	return f.place(ctx, req)
}

func (f *fake) Order(ctx context.Context, id int64) (order.Order, error) {
	if f.order == nil {
		return order.Order{}, errNotExpected
	}
	return f.order(ctx, id)
}

func (f *fake) Product(ctx context.Context, id int64) (order.Product, error) {
	if f.product == nil {
		return order.Product{}, errNotExpected
	}
	return f.product(ctx, id)
}

func (f *fake) Ping(ctx context.Context) error {
	if f.ping == nil {
		return errNotExpected
	}
	return f.ping(ctx)
}

// requests returns what reached the model.
func (f *fake) requests() []order.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.placed
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 123456000, time.UTC)

// sells answers every order with a receipt.
func sells(context.Context, order.Request) (order.Receipt, error) {
	return order.Receipt{OrderID: 5, Status: order.StatusCreated, TotalCents: 1999, CreatedAt: noon}, nil
}

// fails answers every order with err.
func fails(err error) func(context.Context, order.Request) (order.Receipt, error) {
	return func(context.Context, order.Request) (order.Receipt, error) { return order.Receipt{}, err }
}

// server is an API on a fake, and what it logs.
type server struct {
	*API
	fake *fake
	log  *bytes.Buffer
	reg  *prometheus.Registry
}

const testTimeout = 3 * time.Second

func newServer(tb testing.TB, f *fake) *server {
	tb.Helper()
	s := &server{fake: f, log: &bytes.Buffer{}, reg: prometheus.NewRegistry()}
	s.API = New(Config{
		Placer: f, Reader: f, RequestTimeout: testTimeout, Metrics: s.reg,
		Info: Info{
			Stage: "stage0-test", Version: "1.2", MasterVersion: "1.1", Guard: "none", Expected: "broken", PID: 7, MasterPID: 6, Processes: 2,
			Workers: 3, DBConns: 8, QueueCap: 64, UserLatencyMS: 1.5,
		},
		Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	return s
}

// do sends one request. headers are names and values in turn.
func (s *server) do(tb testing.TB, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// post sends an order as JSON.
func (s *server) post(tb testing.TB, body string, headers ...string) *httptest.ResponseRecorder {
	tb.Helper()
	return s.do(tb, http.MethodPost, "/orders", body, append([]string{"Content-Type", "application/json"}, headers...)...)
}

const validBody = `{"user_id":1,"product_id":7,"quantity":1}`

// decode reads a JSON answer; it must have the type and end after one value.
func decode[T any](t *testing.T, w *httptest.ResponseRecorder, contentType string) T {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != contentType {
		t.Errorf("Content-Type %q, want %q", got, contentType)
	}
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Errorf("%v in %q", err, w.Body)
	}
	return v
}

// wantProblem checks an error's status, shape and code, and returns its detail.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code string) string {
	t.Helper()
	p := decode[map[string]any](t, w, "application/problem+json")
	if w.Code != status || p["code"] != code {
		t.Errorf("status %d, code %v, want %d %s: %s", w.Code, p["code"], status, code, w.Body)
	}
	if p["type"] != "about:blank" || p["title"] != http.StatusText(status) || p["status"] != float64(status) {
		t.Errorf("no RFC 9457 problem for %d: %s", status, w.Body)
	}
	for field := range p {
		switch field {
		case "type", "title", "status", "code", "detail":
		default:
			t.Errorf("field %q is not in the contract", field)
		}
	}
	if retry := w.Header().Get("Retry-After"); (status == http.StatusServiceUnavailable) != (retry == "1") {
		t.Errorf("Retry-After %q with status %d", retry, status)
	}
	detail, _ := p["detail"].(string)
	if detail == "" && status != http.StatusInternalServerError {
		t.Errorf("no detail: %s", w.Body)
	}
	return detail
}
