package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/flashsale/shop/order"
)

// orderRequestFor returns a request for an order, with a key.
func orderRequestFor(b *testing.B, body string) *http.Request {
	b.Helper()
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/orders", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(keyHeader, "0198c8a2-7c1e-7f00-8000-000000000000")
	return r
}

// BenchmarkDecode reads and checks one order.
func BenchmarkDecode(b *testing.B) {
	const body = `{"user_id":1234,"product_id":7,"quantity":1,"price_cents":1999}`
	r, w := orderRequestFor(b, body), httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		r.Body = readCloser{strings.NewReader(body)}
		if _, err := readOrder(w, r); err != nil {
			b.Fatal(err)
		}
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// BenchmarkEncode writes one receipt.
func BenchmarkEncode(b *testing.B) {
	s := newServer(b, &fake{})
	r := orderRequestFor(b, "")
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		w.Body.Reset()
		c := s.echo.NewContext(r, w)
		if err := c.JSON(http.StatusCreated, receiptJSON{OrderID: 123456, Status: "created", TotalCents: 1999, CreatedAt: noon}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPostOrder is all of HTTP's share but for the network: routing,
// decoding, a model that sells at once, counting, encoding.
func BenchmarkPostOrder(b *testing.B) {
	s := newServer(b, &fake{})
	s.cfg.Placer = instant{}
	r := orderRequestFor(b, validBody)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		r.Body = readCloser{strings.NewReader(validBody)}
		w.Body.Reset()
		s.ServeHTTP(w, r)
	}
	if w.Code != http.StatusCreated {
		b.Fatalf("status %d", w.Code)
	}
}

// instant sells without remembering what, so that only HTTP is measured.
type instant struct{}

func (instant) Place(ctx context.Context, req order.Request) (order.Receipt, error) {
	return sells(ctx, req)
}
