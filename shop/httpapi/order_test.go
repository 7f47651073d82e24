package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"example.com/flashsale/shop/order"

	"github.com/google/uuid"
)

func TestPostOrder(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{place: sells})
	w := s.post(t, `{"user_id":1,"product_id":7,"quantity":2,"price_cents":1999}`, "Idempotency-Key", "hers")
	if w.Code != http.StatusCreated || w.Header().Get("Idempotent-Replayed") != "" {
		t.Errorf("status %d, header %v", w.Code, w.Header())
	}
	got := decode[map[string]any](t, w, "application/json")
	want := map[string]any{"order_id": 5.0, "status": "created", "total_cents": 1999.0, "created_at": "2026-01-02T12:00:00.123456Z"}
	if !sameJSON(t, got, want) {
		t.Errorf("answer %s, want %v", w.Body, want)
	}
	asked := order.Request{UserID: 1, ProductID: 7, Quantity: 2, PriceCents: 1999, Key: "hers"}
	if reqs := s.fake.requests(); len(reqs) != 1 || reqs[0] != asked {
		t.Errorf("the model was asked for %+v, want %+v", reqs, asked)
	}
}

func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}

func TestPostOrderReplayed(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{place: func(ctx context.Context, req order.Request) (order.Receipt, error) {
		r, err := sells(ctx, req)
		r.Replayed = true
		return r, err
	}})
	w := s.post(t, validBody, "Idempotency-Key", "hers")
	if w.Code != http.StatusOK || w.Header().Get("Idempotent-Replayed") != "true" {
		t.Errorf("status %d, header %v", w.Code, w.Header())
	}
	if got := decode[map[string]any](t, w, "application/json"); got["order_id"] != 5.0 || len(got) != 4 {
		t.Errorf("answer %s", w.Body)
	}
}

// TestPostOrderAccepts: what a client may send, and what the model then sees.
func TestPostOrderAccepts(t *testing.T) {
	t.Parallel()
	plain := order.Request{UserID: 1, ProductID: 7, Quantity: 1, Key: "k"}
	priced := plain
	priced.PriceCents = 1999
	full := strings.Repeat(" ", maxBody-len(validBody)) + validBody
	for name, tt := range map[string]struct {
		body, contentType string
		want              order.Request
	}{
		"plain":                 {validBody, "application/json", plain},
		"with a charset":        {validBody, "application/json; charset=utf-8", plain},
		"type in other letters": {validBody, "Application/JSON", plain},
		"with a price":          {`{"user_id":1,"product_id":7,"quantity":1,"price_cents":1999}`, "application/json", priced},
		"in another order":      {"\n{\"quantity\" : 1,\t\"product_id\":7,\r\n\"user_id\":1}\n", "application/json", plain},
		"the longest body":      {full, "application/json", plain},
		"the largest numbers": {
			`{"user_id":9223372036854775807,"product_id":9223372036854775807,"quantity":1000,"price_cents":100000000000}`, "application/json",
			order.Request{UserID: 1<<63 - 1, ProductID: 1<<63 - 1, Quantity: 1000, PriceCents: 100_000_000_000, Key: "k"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, &fake{place: sells})
			w := s.do(t, http.MethodPost, "/orders", tt.body, "Content-Type", tt.contentType, "Idempotency-Key", "k")
			if reqs := s.fake.requests(); w.Code != http.StatusCreated || len(reqs) != 1 || reqs[0] != tt.want {
				t.Errorf("status %d, asked for %+v, want %+v: %s", w.Code, reqs, tt.want, w.Body)
			}
		})
	}
}

// refusals are bodies that never reach the model.
var refusals = map[string]struct{ body, detail string }{
	"no user":             {`{"product_id":7,"quantity":1}`, "user_id must be a positive whole number"},
	"no product":          {`{"user_id":1,"quantity":1}`, "product_id must be a positive whole number"},
	"no quantity":         {`{"user_id":1,"product_id":7}`, "quantity must be between 1 and 1000"},
	"user 0":              {`{"user_id":0,"product_id":7,"quantity":1}`, "user_id must be"},
	"user negative":       {`{"user_id":-1,"product_id":7,"quantity":1}`, "user_id must be"},
	"product negative":    {`{"user_id":1,"product_id":-7,"quantity":1}`, "product_id must be"},
	"quantity 0":          {`{"user_id":1,"product_id":7,"quantity":0}`, "quantity must be"},
	"quantity negative":   {`{"user_id":1,"product_id":7,"quantity":-1}`, "quantity must be"},
	"quantity 1001":       {`{"user_id":1,"product_id":7,"quantity":1001}`, "quantity must be"},
	"quantity huge":       {`{"user_id":1,"product_id":7,"quantity":9223372036854775807}`, "quantity must be"},
	"quantity too huge":   {`{"user_id":1,"product_id":7,"quantity":9223372036854775808}`, "quantity must be a whole number, not number 9223372036854775808"},
	"quantity fraction":   {`{"user_id":1,"product_id":7,"quantity":1.5}`, "quantity must be a whole number, not number 1.5"},
	"quantity exponent":   {`{"user_id":1,"product_id":7,"quantity":1e2}`, "quantity must be a whole number"},
	"quantity text":       {`{"user_id":1,"product_id":7,"quantity":"1"}`, "quantity must be a whole number, not string"},
	"quantity true":       {`{"user_id":1,"product_id":7,"quantity":true}`, "quantity must be a whole number, not bool"},
	"quantity list":       {`{"user_id":1,"product_id":7,"quantity":[1]}`, "quantity must be a whole number, not array"},
	"quantity null":       {`{"user_id":1,"product_id":7,"quantity":null}`, "quantity must be"},
	"price 0":             {`{"user_id":1,"product_id":7,"quantity":1,"price_cents":0}`, "price_cents must be"},
	"price negative":      {`{"user_id":1,"product_id":7,"quantity":1,"price_cents":-5}`, "price_cents must be"},
	"price too high":      {`{"user_id":1,"product_id":7,"quantity":1,"price_cents":100000000001}`, "price_cents must be"},
	"price text":          {`{"user_id":1,"product_id":7,"quantity":1,"price_cents":"19.99"}`, "price_cents must be a whole number"},
	"unknown field":       {`{"user_id":1,"product_id":7,"quantity":1,"price_cent":1999}`, `unknown field "price_cent"`},
	"a key in the body":   {`{"user_id":1,"product_id":7,"quantity":1,"idempotency_key":"k"}`, "unknown field"},
	"two objects":         {validBody + validBody, "one JSON object and nothing after it"},
	"something after":     {validBody + "x", "one JSON object and nothing after it"},
	"a bracket after":     {validBody + "}", "one JSON object and nothing after it"},
	"empty":               {"", "the body is empty"},
	"white space":         {" \n", "the body is empty"},
	"cut short":           {`{"user_id":1,`, "it ends too early"},
	"cut in a number":     {`{"user_id":1`, "it ends too early"},
	"not JSON":            {`user_id=1&product_id=7`, "the body is not JSON"},
	"single quotes":       {`{'user_id':1}`, "the body is not JSON"},
	"comma at the end":    {`{"user_id":1,"product_id":7,"quantity":1,}`, "the body is not JSON"},
	"a list":              {`[1,7,1]`, "the body must be a JSON object, not array"},
	"a text":              {`"order"`, "the body must be a JSON object, not string"},
	"a number":            {`42`, "the body must be a JSON object, not number"},
	"null":                {`null`, "user_id must be"},
	"a byte order mark":   {"\ufeff" + validBody, "the body is not JSON"},
	"a zero byte":         {"\x00", "the body is not JSON"},
	"deep":                {strings.Repeat("[", maxBody), "the body is not JSON"},
	"NaN":                 {`{"user_id":NaN}`, "the body is not JSON"},
	"leading zero":        {`{"user_id":01,"product_id":7,"quantity":1}`, "the body is not JSON"},
	"a number as a field": {`{1:1}`, "the body is not JSON"},
}

func TestPostOrderRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, &fake{place: sells})
			detail := wantProblem(t, s.post(t, tt.body), http.StatusBadRequest, "invalid_request")
			if !strings.Contains(detail, tt.detail) {
				t.Errorf("detail %q, want %q in it", detail, tt.detail)
			}
			for _, inside := range []string{"Go ", "orderRequest", "json:", "httpapi", "int64"} {
				if strings.Contains(detail, inside) {
					t.Errorf("detail %q speaks of %q", detail, inside)
				}
			}
			if reqs := s.fake.requests(); len(reqs) != 0 {
				t.Errorf("the model was asked for %+v", reqs)
			}
		})
	}
}

func TestContentType(t *testing.T) {
	t.Parallel()
	for name, headers := range map[string][]string{
		"none":          nil,
		"empty":         {"Content-Type", ""},
		"a form":        {"Content-Type", "application/x-www-form-urlencoded"},
		"text":          {"Content-Type", "text/json"},
		"a longer name": {"Content-Type", "application/json5"},
		"problem+json":  {"Content-Type", "application/problem+json"},
		"not a type":    {"Content-Type", "application/json; ="},
		"a star":        {"Content-Type", "*/*"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, &fake{place: sells})
			w := s.do(t, http.MethodPost, "/orders", validBody, headers...)
			wantProblem(t, w, http.StatusUnsupportedMediaType, "unsupported_media_type")
			if len(s.fake.requests()) != 0 {
				t.Error("the model was asked")
			}
		})
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]io.Reader{
		"one byte too long":   strings.NewReader(strings.Repeat(" ", maxBody+1-len(validBody)) + validBody),
		"endless":             io.MultiReader(strings.NewReader(validBody), endless{}),
		"one byte at a time":  iotest.OneByteReader(strings.NewReader(validBody + strings.Repeat(" ", maxBody))),
		"valid, then too big": strings.NewReader(validBody + strings.Repeat(" ", maxBody)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, &fake{place: sells})
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/orders", body)
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if detail := wantProblem(t, w, http.StatusRequestEntityTooLarge, "body_too_large"); !strings.Contains(detail, strconv.Itoa(maxBody)) {
				t.Errorf("detail %q does not name the limit", detail)
			}
			if len(s.fake.requests()) != 0 {
				t.Error("the model was asked")
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestBrokenBody(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{place: sells})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/orders", iotest.ErrReader(errors.New("secret")))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if detail := wantProblem(t, w, http.StatusBadRequest, "invalid_request"); strings.Contains(detail, "secret") {
		t.Errorf("detail %q", detail)
	}
}

func TestKeyRules(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		keys []string
		ok   bool
	}{
		"one letter":     {[]string{"k"}, true},
		"longest":        {[]string{strings.Repeat("k", order.MaxKeyLength)}, true},
		"all of ASCII":   {[]string{` !"#$%&'()*+,-./09:;<=>?@AZ[\]^_az{|}~`}, true},
		"empty":          {[]string{""}, false},
		"too long":       {[]string{strings.Repeat("k", order.MaxKeyLength+1)}, false},
		"not ASCII":      {[]string{"schlüssel"}, false},
		"a tab":          {[]string{"a\tb"}, false},
		"a DEL":          {[]string{"a\x7f"}, false},
		"two":            {[]string{"a", "b"}, false},
		"twice the same": {[]string{"a", "a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, &fake{place: sells})
			var headers []string
			for _, k := range tt.keys {
				headers = append(headers, "idempotency-key", k)
			}
			w := s.post(t, validBody, headers...)
			reqs := s.fake.requests()
			if tt.ok {
				if w.Code != http.StatusCreated || len(reqs) != 1 || reqs[0].Key != tt.keys[0] || reqs[0].ServerKey {
					t.Errorf("status %d, asked for %+v", w.Code, reqs)
				}
				return
			}
			if detail := wantProblem(t, w, http.StatusBadRequest, "invalid_request"); !strings.Contains(detail, "Idempotency-Key") {
				t.Errorf("detail %q does not name the header", detail)
			}
			if len(reqs) != 0 {
				t.Errorf("the model was asked for %+v", reqs)
			}
		})
	}
}

// TestServerKeys: without a key the server makes one, another for each order.
func TestServerKeys(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{place: sells})
	for range 3 {
		s.post(t, validBody)
	}
	seen := map[string]bool{}
	for _, req := range s.fake.requests() {
		if _, err := uuid.Parse(req.Key); err != nil || !req.ServerKey {
			t.Errorf("key %q, server's %v, %v", req.Key, req.ServerKey, err)
		}
		seen[req.Key] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d keys for 3 orders", len(seen))
	}
}

// TestDeadline: the model gets the request's context, with the deadline.
func TestDeadline(t *testing.T) {
	t.Parallel()
	type mark struct{}
	s := newServer(t, &fake{place: func(ctx context.Context, req order.Request) (order.Receipt, error) {
		deadline, ok := ctx.Deadline()
		if left := time.Until(deadline); !ok || left > testTimeout || left < testTimeout-time.Second {
			t.Errorf("%v are left of %v", left, testTimeout)
		}
		if ctx.Value(mark{}) != "hers" {
			t.Error("the context is not the request's")
		}
		return sells(ctx, req)
	}})
	r := httptest.NewRequestWithContext(context.WithValue(t.Context(), mark{}, "hers"), http.MethodPost, "/orders", strings.NewReader(validBody))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		t.Errorf("status %d", w.Code)
	}
}

func TestServedCountsEveryOrderRequest(t *testing.T) {
	t.Parallel()
	f := &fake{place: sells, ping: func(context.Context) error { return nil }}
	s := newServer(t, f)
	served := 0
	s.cfg.Served = func() { served++ }
	s.post(t, validBody)
	s.post(t, "")
	f.place = fails(order.SoldOut())
	s.post(t, validBody)
	s.do(t, http.MethodGet, "/ready", "")
	if served != 3 {
		t.Errorf("served %d, want 3", served)
	}
}
