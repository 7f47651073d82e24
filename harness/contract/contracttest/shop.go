// Package contracttest is a service in memory that keeps the contract, or breaks one rule of it on purpose: it is there to
// test what checks services. It is small, not fast, and forgets everything.
package contracttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"example.com/flashsale/harness/contract"
)

const (
	price     = 1999
	users     = 100
	bodyLimit = 16 << 10
	// overlap is how long a defect leaves between looking and writing, so that others come in between.
	overlap = 30 * time.Millisecond
)

// Defects are the rules that Shop can break, by the names of contract.Rules. Overselling breaks two: last-unit and
// flash-sale.
var Defects = []string{
	"product", "order", "order-read", "stock", "keyless", "right-price", "limits", "replay", "key-conflict", "refused-key", "replay-sold-out",
	"malformed", "missing-field", "unknown-field", "wrong-type", "out-of-range", "bad-key", "content-type", "body-too-large", "body-far-too-large",
	"unknown-user", "unknown-product", "price-changed", "more-than-stock", "sold-out", "bad-id", "not-found", "no-route", "no-method", "takes-nothing",
	"one-key", "one-key-last-unit", "last-unit", "flash-sale", "health", "health-members", "ready", "metrics", "openapi", "problem", "retry-after",
}

// Shop is a service with users 1 to 100 and product 1 of 1,000 units. It is an http.Handler and a contract.Stockroom, and
// may be used concurrently.
type Shop struct {
	defect string
	mux    *http.ServeMux

	mu       sync.Mutex
	products []*product
	orders   []order
	byKey    map[string]int    // index in orders
	refused  map[string]string // key to body, for the defect refused-key
	turned   bool              // the defect retry-after has sent its 503
}

type product struct{ initial, stock int64 }

type order struct {
	request
	at time.Time
}

type request struct {
	UserID     int64  `json:"user_id"`
	ProductID  int64  `json:"product_id"`
	Quantity   int64  `json:"quantity"`
	PriceCents *int64 `json:"price_cents"`
}

// text is what a key is bound to.
func (r request) text() string {
	b, _ := json.Marshal(r)
	return string(b)
}

// New returns a service that breaks the rule of that name, or none. It panics where it cannot break that rule.
func New(defect string) *Shop {
	if defect != "" && !slices.Contains(Defects, defect) {
		panic("there is no defect " + defect)
	}
	s := &Shop{defect: defect, mux: http.NewServeMux(), byKey: map[string]int{}, refused: map[string]string{}}
	s.products = []*product{{1000, 1000}}
	s.mux.HandleFunc("POST /orders", s.place)
	s.mux.HandleFunc("GET /orders/{id}", s.showOrder)
	s.mux.HandleFunc("GET /products/{id}", s.showProduct)
	s.mux.HandleFunc("GET /health", s.health)
	s.mux.HandleFunc("GET /ready", s.ready)
	s.mux.HandleFunc("GET /metrics", s.metrics)
	s.mux.HandleFunc("GET /openapi.yaml", s.describe)
	return s
}

// Make makes a product.
func (s *Shop) Make(_ context.Context, stock int64) (contract.Product, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.products = append(s.products, &product{stock, stock})
	id := int64(len(s.products))
	return contract.Product{ID: id, Name: productName(id), PriceCents: price, Stock: stock}, nil
}

// Count counts the orders of a product and its units that are left.
func (s *Shop) Count(_ context.Context, id int64) (orders, left int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.orders {
		if o.ProductID == id {
			orders++
		}
	}
	return orders, s.products[id-1].stock, nil
}

func productName(id int64) string { return fmt.Sprintf("product %d", id) }

// ServeHTTP answers a request.
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, pattern := s.mux.Handler(r)
	if pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	switch {
	case len(allowed) == 0 && s.is("no-route"):
		s.problem(w, http.StatusNotFound, "nothing_here")
	case len(allowed) == 0:
		s.problem(w, http.StatusNotFound, "route_not_found")
	default:
		if !s.is("no-method") {
			w.Header()["Allow"] = allowed
		}
		s.problem(w, http.StatusMethodNotAllowed, "method_not_allowed")
	}
}

func (s *Shop) is(defect string) bool { return s.defect == defect }

// problem answers with an error.
func (s *Shop) problem(w http.ResponseWriter, status int, code string) {
	contentType := "application/problem+json"
	if s.is("problem") {
		contentType = "application/json"
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "code": code})
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// place is POST /orders.
func (s *Shop) place(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	turnAway := s.is("retry-after") && !s.turned
	s.turned = s.turned || turnAway
	s.mu.Unlock()
	if turnAway {
		s.problem(w, http.StatusServiceUnavailable, "overloaded")
		return
	}
	req, key, status, code := s.read(w, r)
	if status == 0 {
		s.sell(w, req, key)
		return
	}
	s.problem(w, status, code)
}

// read returns an order and its key, or status and code of a refusal.
func (s *Shop) read(w http.ResponseWriter, r *http.Request) (req request, key string, status int, code string) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if (err != nil || mediaType != "application/json") && !s.is("content-type") {
		return req, "", http.StatusUnsupportedMediaType, "unsupported_media_type"
	}
	key, status, code = s.readKey(r)
	if status != 0 {
		return req, "", status, code
	}
	body, status, code := s.readBody(w, r)
	if status != 0 {
		return req, "", status, code
	}
	if req, err = s.decode(body); err != nil {
		return req, "", http.StatusBadRequest, "invalid_request"
	}
	return req, key, 0, ""
}

func (s *Shop) readKey(r *http.Request) (key string, status int, code string) {
	values, sent := r.Header["Idempotency-Key"]
	if !sent {
		return "", 0, ""
	}
	key = values[0]
	bad := key == "" || len(key) > 255 && !s.is("bad-key")
	for _, c := range []byte(key) {
		bad = bad || c < ' ' || c > '~'
	}
	if bad {
		return "", http.StatusBadRequest, "invalid_request"
	}
	return key, 0, ""
}

func (s *Shop) readBody(w http.ResponseWriter, r *http.Request) (body []byte, status int, code string) {
	limit := int64(bodyLimit)
	switch {
	case s.is("limits"):
		limit /= 2
	case s.is("body-too-large"):
		limit = 1 << 30
	case s.is("body-far-too-large") && r.ContentLength > 2*bodyLimit:
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, http.StatusRequestEntityTooLarge, "body_too_large"
	}
	return body, 0, ""
}

// decode reads an order and checks its numbers.
func (s *Shop) decode(body []byte) (req request, err error) {
	req.Quantity = -1
	if s.is("missing-field") && !bytes.Contains(body, []byte("quantity")) {
		req.Quantity = 1
	}
	if s.is("wrong-type") {
		body = bytes.ReplaceAll(body, []byte(`"quantity":"1"`), []byte(`"quantity":1`))
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if !s.is("unknown-field") {
		decoder.DisallowUnknownFields()
	}
	if err := decoder.Decode(&req); err != nil {
		return req, err
	}
	if _, err := decoder.Token(); err != io.EOF && !s.is("malformed") {
		return req, fmt.Errorf("more than one object")
	}
	highest := int64(1000)
	if s.is("out-of-range") {
		highest++
	}
	priced := req.PriceCents == nil || *req.PriceCents >= 1 && *req.PriceCents <= 100_000_000_000
	if req.UserID < 1 || req.ProductID < 1 || req.Quantity < 1 || req.Quantity > highest || !priced {
		return req, fmt.Errorf("out of range")
	}
	return req, nil
}

// showID reads the id in a path; false: it has answered.
func (s *Shop) showID(w http.ResponseWriter, r *http.Request, kind string, highest func() int) (id int64, ok bool) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	s.mu.Lock()
	found := err == nil && id >= 1 && id <= int64(highest())
	s.mu.Unlock()
	switch {
	case found:
		return id, true
	case (err != nil || id < 1) && !s.is("bad-id"):
		s.problem(w, http.StatusBadRequest, "invalid_request")
	case s.is("not-found"):
		s.problem(w, http.StatusNotFound, "not_found")
	default:
		s.problem(w, http.StatusNotFound, kind+"_not_found")
	}
	return 0, false
}

func (s *Shop) showOrder(w http.ResponseWriter, r *http.Request) {
	id, ok := s.showID(w, r, "order", func() int { return len(s.orders) })
	if !ok {
		return
	}
	s.mu.Lock()
	o := s.orders[id-1]
	s.mu.Unlock()
	body := receipt(id, o)
	body["user_id"], body["product_id"], body["quantity"] = o.UserID, o.ProductID, o.Quantity
	if s.is("order-read") {
		body["quantity"] = 1
	}
	answer(w, http.StatusOK, body)
}

func (s *Shop) showProduct(w http.ResponseWriter, r *http.Request) {
	id, ok := s.showID(w, r, "product", func() int { return len(s.products) })
	if !ok {
		return
	}
	s.mu.Lock()
	p := *s.products[id-1]
	s.mu.Unlock()
	body := map[string]any{"id": id, "name": productName(id), "price_cents": price, "stock": p.stock}
	if s.is("product") {
		delete(body, "stock")
	}
	if s.is("stock") {
		body["stock"] = p.initial
	}
	answer(w, http.StatusOK, body)
}

func (s *Shop) health(w http.ResponseWriter, _ *http.Request) {
	body := map[string]any{
		"status": "ok", "stage": "in-memory", "version": "", "master_version": "", "guard": "mutex", "expected": "safe", "pid": 1, "master_pid": 1, "processes": 1, "workers": 1,
		"db_conns": 0, "queue_cap": 0, "user_latency_ms": 0, "goroutines": 1, "cpus": 1, "go_version": "",
	}
	if s.is("health") {
		body["status"] = "up"
	}
	if s.is("health-members") {
		delete(body, "guard")
	}
	answer(w, http.StatusOK, body)
}

func (s *Shop) ready(w http.ResponseWriter, _ *http.Request) {
	if s.is("ready") {
		w.Header().Set("Retry-After", "1")
		s.problem(w, http.StatusServiceUnavailable, "overloaded")
	}
}

func (s *Shop) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	text := "# TYPE orders_total counter\norders_total 1\n"
	if s.is("metrics") {
		text = `{"orders": 1}`
	}
	_, _ = io.WriteString(w, text)
}

func (s *Shop) describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	text := "openapi: 3.1.0\npaths:\n  /orders: {}\n"
	if s.is("openapi") {
		text = "swagger: 2.0\n"
	}
	_, _ = io.WriteString(w, text)
}
