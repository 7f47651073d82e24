package contract

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// requestTimeout is longer than any service may take to answer here.
	requestTimeout = 15 * time.Second
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 4 << 20
)

// Client sends requests to a service, each exactly once. It may be used concurrently.
type Client struct {
	base string
	http *http.Client
}

// NewClient returns a client that opens a new connection for each request, or keeps connections alive. base is a URL
// without a slash at its end.
func NewClient(base string, keepAlive bool) *Client {
	transport := &http.Transport{DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 64, ExpectContinueTimeout: requestTimeout}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{base: base, http: &http.Client{Transport: transport, Timeout: requestTimeout, CheckRedirect: stay}}
}

// Close ends connections that are kept alive and idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration
}

// Send sends one request and reads the whole answer. It blocks for fifteen seconds at most.
func (c *Client) Send(ctx context.Context, method, path, body string, header http.Header) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	// net/http would send a POST with an Idempotency-Key again by itself where a kept connection breaks.
	request.GetBody = nil
	for name, values := range header {
		request.Header[name] = values
	}
	start := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Answer{}, err
	}
	return Answer{Status: response.StatusCode, Header: response.Header, Body: content, Took: time.Since(start)}, nil
}

// Order is a request for an order as a well-behaved client sends it.
type Order struct {
	User, Product, Quantity int64
	Price                   int64  // in cents; 0: not sent
	Key                     string // empty: not sent
}

// Buy is one unit of the product with a fresh key, for user 1.
func Buy(product int64) Order { return Order{User: 1, Product: product, Quantity: 1, Key: rand.Text()} }

// Body is the order in JSON.
func (o Order) Body() string {
	body := fmt.Sprintf(`{"user_id":%d,"product_id":%d,"quantity":%d`, o.User, o.Product, o.Quantity)
	if o.Price != 0 {
		body += fmt.Sprintf(`,"price_cents":%d`, o.Price)
	}
	return body + "}"
}

// Header is what belongs to the body.
func (o Order) Header() http.Header {
	header := http.Header{"Content-Type": {"application/json"}}
	if o.Key != "" {
		header["Idempotency-Key"] = []string{o.Key}
	}
	return header
}

// Order sends an order once.
func (c *Client) Order(ctx context.Context, o Order) (Answer, error) {
	return c.Send(ctx, http.MethodPost, "/orders", o.Body(), o.Header())
}

// Receipt is the answer to an accepted order.
type Receipt struct {
	OrderID    int64     `json:"order_id"`
	Status     string    `json:"status"`
	TotalCents int64     `json:"total_cents"`
	CreatedAt  time.Time `json:"created_at"`
}

// Same says whether both are the receipt of one order.
func (r Receipt) Same(other Receipt) bool {
	return r.OrderID == other.OrderID && r.TotalCents == other.TotalCents && r.Status == other.Status && r.CreatedAt.Equal(other.CreatedAt)
}

// Receipt reads a receipt; the error shows a body that is none.
func (a Answer) Receipt() (Receipt, error) {
	var r Receipt
	if err := json.Unmarshal(a.Body, &r); err != nil {
		return r, fmt.Errorf("status %d, body %q: %w", a.Status, a.Body, err)
	}
	if r.OrderID <= 0 || r.CreatedAt.IsZero() {
		return r, fmt.Errorf("status %d: %s is not a receipt", a.Status, a.Body)
	}
	return r, nil
}

// Code returns the stable code of an error answer after checking that it is a problem of RFC 9457.
func (a Answer) Code() (string, error) {
	var problem struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Code   string `json:"code"`
	}
	if contentType := mediaType(a.Header); contentType != "application/problem+json" {
		return "", fmt.Errorf("status %d has content type %q, want application/problem+json: %s", a.Status, contentType, a.Body)
	}
	if err := json.Unmarshal(a.Body, &problem); err != nil {
		return "", fmt.Errorf("status %d: %w: %s", a.Status, err, a.Body)
	}
	if problem.Type == "" || problem.Title == "" || problem.Status != a.Status || problem.Code == "" {
		return "", fmt.Errorf("status %d: %s lacks a member, or has another status", a.Status, a.Body)
	}
	return problem.Code, nil
}

// looseCode returns the code alone, whatever else is wrong with the answer; empty where there is none.
func (a Answer) looseCode() string {
	var problem struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(a.Body, &problem)
	return problem.Code
}

// String is the answer in one line, without the end of a long body.
func (a Answer) String() string {
	const enough = 160
	body := strings.Join(strings.Fields(string(a.Body)), " ")
	if len(body) > enough {
		body = strings.ToValidUTF8(body[:enough], "") + "…"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, body))
}

func mediaType(header http.Header) string {
	name, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(name))
}
