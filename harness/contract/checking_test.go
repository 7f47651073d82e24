package contract

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fullShop shows a product and turns every order away.
type fullShop struct {
	mu   sync.Mutex
	sent map[string]int // attempts of each key and body
}

func (s *fullShop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.URL.Path == "/products/1" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":1,"name":"a","price_cents":5,"stock":1000}`)
		return
	}
	body, _ := io.ReadAll(r.Body)
	// Some rules send the same large body, or the same one without a key, more than once.
	if key := r.Header.Get("Idempotency-Key"); r.Method == http.MethodPost && key != "" && len(body) < bodyLimit {
		s.mu.Lock()
		s.sent[key+string(body)]++
		s.mu.Unlock()
	}
	w.WriteHeader(http.StatusServiceUnavailable)
}

// A service that takes no orders is asked again for one of them, not for each: that took a quarter of an hour.
func TestPatienceEnds(t *testing.T) {
	service := &fullShop{sent: map[string]int{}}
	server := httptest.NewServer(service)
	defer server.Close()
	report, err := Check(t.Context(), Config{URL: server.URL, Users: []int64{1}, Product: 1, patience: 4 * pause}, Rules)
	if err != nil {
		t.Fatal(err)
	}
	repeated := 0
	for _, n := range service.sent {
		if n > 1 {
			repeated++
		}
	}
	if repeated != 1 || len(service.sent) < 10 {
		t.Errorf("%d of %d orders were sent again, want 1", repeated, len(service.sent))
	}
	if i := slices.IndexFunc(report.Results, func(r Result) bool { return r.Rule.Name == "order" }); report.Results[i].Outcome != Fail {
		t.Errorf("rule order: %+v", report.Results[i])
	}
}

// While a service is full for a moment, every order is sent again.
func TestPatienceStays(t *testing.T) {
	c := &checking{patience: time.Minute}
	if left := c.patienceLeft(); left != time.Minute {
		t.Errorf("%v", left)
	}
	c.exhaust()
	if left := c.patienceLeft(); left != 0 {
		t.Errorf("%v after an order was turned away all the time", left)
	}
}

// What a service sends is not bounded, and what is kept of it is.
func TestFindingsAreBounded(t *testing.T) {
	long := strings.Repeat("ä", 100_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", long[:10_000])
		if r.URL.Path != "/health" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = fmt.Fprintf(w, `{"status":%q,"guard":[%q],"expected":%q}`, long, long, long)
	}))
	defer server.Close()
	report, err := Check(t.Context(), Config{URL: server.URL, Users: []int64{1}, Product: 1, patience: time.Millisecond}, Rules)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, r := range report.Results {
		for _, f := range r.Findings {
			kept++
			if longest := max(len(f.Request), len(f.Want), len(f.Got)); longest > maxPart+len("…") {
				t.Errorf("%s: %d bytes are kept", r.Rule.Name, longest)
			}
		}
	}
	if kept < 10 {
		t.Errorf("%d findings", kept)
	}
}

// Another order under a used key says nothing where a service may refuse it for something else.
func TestOtherOrdersUnderAKey(t *testing.T) {
	bound := Order{User: 2, Product: 1, Quantity: 1, Key: "k"}
	for name, test := range map[string]struct {
		users []int64
		price int64
		want  []Order
	}{
		"nothing known": {[]int64{2}, 0, []Order{{User: 2, Product: 1, Quantity: 2, Key: "k"}}},
		"all known": {[]int64{2, 3}, 5, []Order{
			{User: 2, Product: 1, Quantity: 2, Key: "k"}, {User: 2, Product: 1, Quantity: 1, Price: 5, Key: "k"}, {User: 3, Product: 1, Quantity: 1, Key: "k"},
		}},
	} {
		c := &checking{cfg: Config{Users: test.users}, plain: Product{ID: 1, PriceCents: test.price}}
		if got := c.others(bound); !slices.Equal(got, test.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
