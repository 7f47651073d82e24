package conformance

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/harness/contract"
)

// wantProblem checks status and code of an error answer.
func wantProblem(t *testing.T, a contract.Answer, status int, code string) {
	t.Helper()
	got, err := a.Code()
	switch {
	case err != nil:
		t.Error(err)
	case a.Status != status || code != "" && got != code:
		t.Errorf("answered %d %s, want %d %s: %s", a.Status, got, status, code, a.Body)
	}
}

// mustSend sends a request that must be answered.
func (f *fixture) mustSend(method, path, body string, header http.Header) contract.Answer {
	f.Helper()
	a, err := f.client.Send(f.Context(), method, path, body, header)
	if err != nil {
		f.Fatal(err)
	}
	return a
}

func (f *fixture) mustOrder(o contract.Order) contract.Answer {
	f.Helper()
	return f.mustSend(http.MethodPost, "/orders", o.Body(), o.Header())
}

// mustBuy places an order that must be accepted, and returns its receipt.
func (f *fixture) mustBuy(o contract.Order) contract.Receipt {
	f.Helper()
	return f.mustReceipt(f.mustOrder(o), http.StatusCreated)
}

func (f *fixture) mustReceipt(a contract.Answer, status int) contract.Receipt {
	f.Helper()
	if a.Status != status {
		f.Fatalf("answered %d, want %d: %s", a.Status, status, a.Body)
	}
	r, err := a.Receipt()
	if err != nil {
		f.Fatal(err)
	}
	return r
}

// getJSON reads a resource that must be there.
func (f *fixture) getJSON(path string, into any) {
	f.Helper()
	a := f.mustSend(http.MethodGet, path, "", nil)
	if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		f.Fatalf("GET %s: status %d, content type %q: %s", path, a.Status, a.Header.Get("Content-Type"), a.Body)
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		f.Fatalf("GET %s: %v: %s", path, err, a.Body)
	}
}

// together sends the orders at once and returns their answers in the same order. All must be answered.
func (f *fixture) together(orders []contract.Order) []contract.Answer {
	f.Helper()
	return f.begin(orders)()
}

// begin sends the orders at once and returns without waiting. The function that it returns waits for the answers; all
// orders must be answered.
func (f *fixture) begin(orders []contract.Order) (wait func() []contract.Answer) {
	return f.beginAs(orders, f.client.Order)
}

// beginHeard is like begin, but returns when the stage works on all of the orders: a client that expects 100 Continue
// gets it when the stage begins to read the body.
func (f *fixture) beginHeard(orders []contract.Order) (wait func() []contract.Answer) {
	f.Helper()
	heard := make(chan struct{}, len(orders))
	wait = f.beginAs(orders, func(ctx context.Context, o contract.Order) (contract.Answer, error) {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { heard <- struct{}{} }})
		header := o.Header()
		header["Expect"] = []string{"100-continue"}
		return f.client.Send(ctx, http.MethodPost, "/orders", o.Body(), header)
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

func (f *fixture) beginAs(orders []contract.Order, send func(context.Context, contract.Order) (contract.Answer, error)) (wait func() []contract.Answer) {
	answers := contract.Begin(f.Context(), orders, send)
	f.Cleanup(func() { _, _ = answers() })
	return func() []contract.Answer {
		f.Helper()
		all, err := answers()
		if err != nil {
			f.Fatal(err)
		}
		return all
	}
}
