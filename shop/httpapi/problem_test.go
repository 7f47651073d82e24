package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"example.com/flashsale/shop/order"

	"github.com/labstack/echo/v4"
)

// answers is the contract: what each kind of error is over HTTP.
var answers = map[order.Kind]struct {
	status int
	code   string
}{
	order.Internal:            {500, "internal"},
	order.InvalidRequest:      {400, "invalid_request"},
	order.UserNotFound:        {404, "user_not_found"},
	order.ProductNotFound:     {404, "product_not_found"},
	order.OrderNotFound:       {404, "order_not_found"},
	order.OutOfStock:          {409, "out_of_stock"},
	order.PriceChanged:        {409, "price_changed"},
	order.IdempotencyConflict: {409, "idempotency_conflict"},
	order.Overloaded:          {503, "overloaded"},
	order.Timeout:             {504, "timeout"},
	order.DuplicateKey:        {500, "internal"}, // inside only: nobody answers with it
}

// allKinds are the kinds, found by their codes.
func allKinds(t *testing.T) []order.Kind {
	t.Helper()
	var kinds []order.Kind
	for k := order.Internal; !strings.HasPrefix(k.String(), "kind("); k++ {
		kinds = append(kinds, k)
	}
	if len(kinds) != len(answers) {
		t.Errorf("%d kinds, but %d in this test's table", len(kinds), len(answers))
	}
	return kinds
}

func TestErrorKinds(t *testing.T) {
	t.Parallel()
	for _, kind := range allKinds(t) {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			want := answers[kind]
			err := fmt.Errorf("model: %w", &order.Error{
				Kind: kind, Detail: "for the buyer", Op: "secret op", Err: errors.New("secret cause"),
			})
			s := newServer(t, &fake{place: fails(err)})
			w := s.post(t, validBody)
			detail := wantProblem(t, w, want.status, want.code)
			if want.status == http.StatusInternalServerError {
				if detail != "" {
					t.Errorf("an internal error says %q", detail)
				}
			} else if detail != "for the buyer" {
				t.Errorf("detail %q", detail)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the cause leaks: %s", w.Body)
			}
			logged := strings.Contains(s.log.String(), "level=ERROR") && strings.Contains(s.log.String(), "secret cause")
			if failed := want.status == 500 || want.status == 504; logged != failed {
				t.Errorf("status %d, logged: %q", want.status, s.log)
			}
		})
	}
}

func TestErrorsWithoutAKind(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"any":       {errors.New("secret"), 500, "internal"},
		"deadline":  {context.DeadlineExceeded, 504, "timeout"},
		"cancelled": {fmt.Errorf("secret: %w", context.Canceled), 504, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, &fake{place: fails(tt.err)})
			w := s.post(t, validBody)
			p := decode[problem](t, w, "application/problem+json")
			if w.Code != tt.status || p.Code != tt.code || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("status %d: %s, want %d %s and no secret", w.Code, w.Body, tt.status, tt.code)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/", 404, "route_not_found", ""},
		{"POST", "/orders/", 404, "route_not_found", ""},
		{"GET", "/Orders/1", 404, "route_not_found", ""},
		{"GET", "/orders", 405, "method_not_allowed", "OPTIONS, POST"},
		{"PUT", "/orders", 405, "method_not_allowed", "OPTIONS, POST"},
		{"DELETE", "/orders/1", 405, "method_not_allowed", "OPTIONS, GET"},
		{"POST", "/ready", 405, "method_not_allowed", "OPTIONS, GET"},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, &fake{})
			w := s.do(t, tt.method, tt.path, "")
			wantProblem(t, w, tt.status, tt.code)
			if got := w.Header().Get("Allow"); got != tt.allow {
				t.Errorf("Allow %q, want %q", got, tt.allow)
			}
		})
	}
}

func TestHeadHasNoBody(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{})
	w := s.do(t, http.MethodHead, "/nowhere", "")
	if w.Code != http.StatusNotFound || w.Body.Len() != 0 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, header %v, body %q", w.Code, w.Header(), w.Body)
	}
}

// TestFailAfterAnAnswer: an answer that has begun is not mixed with another.
func TestFailAfterAnAnswer(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{})
	w := httptest.NewRecorder()
	c := s.echo.NewContext(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody), w)
	if err := c.String(http.StatusOK, "begun"); err != nil {
		t.Fatal(err)
	}
	s.fail(errors.New("too late"), c)
	if w.Code != http.StatusOK || w.Body.String() != "begun" {
		t.Errorf("status %d, body %q", w.Code, w.Body)
	}
}

// deaf is a client that does not take the answer.
type deaf struct{ *httptest.ResponseRecorder }

func (deaf) Write([]byte) (int, error) { return 0, errors.New("the client left") }

func TestAnswerThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{})
	w := deaf{httptest.NewRecorder()}
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/nowhere", http.NoBody))
	if w.Code != http.StatusNotFound || !strings.Contains(s.log.String(), "the client left") || strings.Contains(s.log.String(), "level=ERROR") {
		t.Errorf("status %d, log %q", w.Code, s.log)
	}
}

// TestOtherHTTPErrors: an error of echo's own gets a code of the contract.
func TestOtherHTTPErrors(t *testing.T) {
	t.Parallel()
	p := describe(echo.NewHTTPError(http.StatusBadRequest, "the query is broken"))
	if p.Status != 400 || p.Code != "invalid_request" || p.Detail != "the query is broken" {
		t.Errorf("%+v", p)
	}
}

const panicEnv = "HTTPAPI_TEST_PANIC"

// TestPanicEndsTheProcess runs itself as another process, whose model panics.
func TestPanicEndsTheProcess(t *testing.T) {
	t.Parallel()
	if os.Getenv(panicEnv) != "" {
		s := newServer(t, &fake{place: func(context.Context, order.Request) (order.Receipt, error) { panic("broken model") }})
		s.cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
		s.post(t, validBody)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanicEndsTheProcess$")
	cmd.Env = append(os.Environ(), panicEnv+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Fatalf("%v, want exit code 2:\n%s", err, out)
	}
	for _, want := range []string{"level=ERROR", "panic, this process ends", "broken model", "problem_test.go"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the log does not say %q:\n%s", want, out)
		}
	}
}

// TestAbortHandlerIsNoPanic: net/http's way to drop a connection goes on.
func TestAbortHandlerIsNoPanic(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{place: func(context.Context, order.Request) (order.Receipt, error) { panic(http.ErrAbortHandler) }})
	defer func() {
		if v := recover(); v != any(http.ErrAbortHandler) {
			t.Errorf("recovered %v", v)
		}
	}()
	s.post(t, validBody)
	t.Error("the panic was swallowed")
}
