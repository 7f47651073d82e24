package conformance

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"
)

// requestTimeout is longer than any stage may take to answer in these tests.
const requestTimeout = 15 * time.Second

// client sends one request at a time to a stage, each exactly once. It may be used concurrently.
type client struct {
	base string
	http *http.Client
}

// newClient returns a client that opens a new connection for each request, or keeps connections alive.
func newClient(base string, keepAlive bool) *client {
	transport := &http.Transport{DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 64, ExpectContinueTimeout: requestTimeout}
	return &client{base: base, http: &http.Client{Transport: transport, Timeout: requestTimeout}}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

// send sends one request and reads the whole answer.
func (c *client) send(ctx context.Context, method, path, body string, header http.Header) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	// net/http would send a POST with an Idempotency-Key again by itself where a kept connection breaks.
	request.GetBody = nil
	for name, values := range header {
		request.Header[name] = values
	}
	start := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{status: response.StatusCode, header: response.Header, body: content, took: time.Since(start)}, nil
}

// order is a request for an order as a well-behaved client sends it.
type order struct {
	user, product, quantity int64
	price                   int64  // 0: not sent
	key                     string // empty: not sent
}

// buy is one unit of the product with a fresh key.
func buy(product int64) order { return order{user: 1, product: product, quantity: 1, key: rand.Text()} }

func (o order) body() string {
	body := fmt.Sprintf(`{"user_id":%d,"product_id":%d,"quantity":%d`, o.user, o.product, o.quantity)
	if o.price != 0 {
		body += fmt.Sprintf(`,"price_cents":%d`, o.price)
	}
	return body + "}"
}

func (o order) header() http.Header {
	header := http.Header{"Content-Type": {"application/json"}}
	if o.key != "" {
		header["Idempotency-Key"] = []string{o.key}
	}
	return header
}

func (c *client) order(ctx context.Context, o order) (answer, error) {
	return c.send(ctx, http.MethodPost, "/orders", o.body(), o.header())
}

// receipt is the answer to an accepted order.
type receipt struct {
	OrderID    int64     `json:"order_id"`
	Status     string    `json:"status"`
	TotalCents int64     `json:"total_cents"`
	CreatedAt  time.Time `json:"created_at"`
}

func (a answer) receipt() (receipt, error) {
	var r receipt
	if err := json.Unmarshal(a.body, &r); err != nil {
		return r, fmt.Errorf("status %d, body %q: %w", a.status, a.body, err)
	}
	if r.OrderID <= 0 || r.CreatedAt.IsZero() {
		return r, fmt.Errorf("status %d: %s is not a receipt", a.status, a.body)
	}
	return r, nil
}

// code returns the stable code of an error answer after checking that it is a problem of RFC 9457.
func (a answer) code() (string, error) {
	var problem struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Code   string `json:"code"`
	}
	if contentType := a.header.Get("Content-Type"); contentType != "application/problem+json" {
		return "", fmt.Errorf("status %d has content type %q, want application/problem+json: %s", a.status, contentType, a.body)
	}
	if err := json.Unmarshal(a.body, &problem); err != nil {
		return "", fmt.Errorf("status %d: %w: %s", a.status, err, a.body)
	}
	if problem.Type == "" || problem.Title == "" || problem.Status != a.status || problem.Code == "" {
		return "", fmt.Errorf("status %d: %s lacks a member, or has another status", a.status, a.body)
	}
	return problem.Code, nil
}

// wantProblem checks status and code of an error answer.
func wantProblem(t *testing.T, a answer, status int, code string) {
	t.Helper()
	got, err := a.code()
	switch {
	case err != nil:
		t.Error(err)
	case a.status != status || code != "" && got != code:
		t.Errorf("answered %d %s, want %d %s: %s", a.status, got, status, code, a.body)
	}
}

// mustSend sends a request that must be answered.
func (f *fixture) mustSend(method, path, body string, header http.Header) answer {
	f.Helper()
	a, err := f.client.send(f.Context(), method, path, body, header)
	if err != nil {
		f.Fatal(err)
	}
	return a
}

func (f *fixture) mustOrder(o order) answer {
	f.Helper()
	return f.mustSend(http.MethodPost, "/orders", o.body(), o.header())
}

// mustBuy places an order that must be accepted, and returns its receipt.
func (f *fixture) mustBuy(o order) receipt {
	f.Helper()
	return f.mustReceipt(f.mustOrder(o), http.StatusCreated)
}

func (f *fixture) mustReceipt(a answer, status int) receipt {
	f.Helper()
	if a.status != status {
		f.Fatalf("answered %d, want %d: %s", a.status, status, a.body)
	}
	r, err := a.receipt()
	if err != nil {
		f.Fatal(err)
	}
	return r
}

// getJSON reads a resource that must be there.
func (f *fixture) getJSON(path string, into any) {
	f.Helper()
	a := f.mustSend(http.MethodGet, path, "", nil)
	if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		f.Fatalf("GET %s: status %d, content type %q: %s", path, a.status, a.header.Get("Content-Type"), a.body)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		f.Fatalf("GET %s: %v: %s", path, err, a.body)
	}
}

// together sends the orders at once and returns their answers in the same order. All must be answered.
func (f *fixture) together(orders []order) []answer {
	f.Helper()
	return f.begin(orders)()
}

// begin sends the orders at once and returns without waiting. The function that it returns waits for the answers; all
// orders must be answered.
func (f *fixture) begin(orders []order) (wait func() []answer) {
	return f.beginAs(orders, f.client.order)
}

// beginHeard is like begin, but returns when the stage works on all of the orders: a client that expects 100 Continue
// gets it when the stage begins to read the body.
func (f *fixture) beginHeard(orders []order) (wait func() []answer) {
	f.Helper()
	heard := make(chan struct{}, len(orders))
	wait = f.beginAs(orders, func(ctx context.Context, o order) (answer, error) {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { heard <- struct{}{} }})
		header := o.header()
		header["Expect"] = []string{"100-continue"}
		return f.client.send(ctx, http.MethodPost, "/orders", o.body(), header)
	})
	timeout := time.After(patience)
	for range orders {
		select {
		case <-heard:
		case <-timeout:
			f.Fatal("the stage does not begin to read all orders")
		}
	}
	return wait
}

func (f *fixture) beginAs(orders []order, send func(context.Context, order) (answer, error)) (wait func() []answer) {
	answers, failures := make([]answer, len(orders)), make([]error, len(orders))
	barrier := make(chan struct{})
	var clients sync.WaitGroup
	for i, o := range orders {
		clients.Go(func() {
			<-barrier
			answers[i], failures[i] = send(f.Context(), o)
		})
	}
	f.Cleanup(clients.Wait)
	close(barrier)
	return func() []answer {
		f.Helper()
		clients.Wait()
		if err := errors.Join(failures...); err != nil {
			f.Fatal(err)
		}
		return answers
	}
}
