package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// shop is a correct service in memory.
type shop struct {
	mu     sync.Mutex
	stock  map[int64]int
	orders map[string]int64 // key to id
	asked  int              // requests
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var order sentOrder
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.stock[order.ProductID] == 0 {
		w.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintf(w, `{"code":%q}`, CodeOutOfStock)
		return
	}
	s.stock[order.ProductID]--
	id := int64(len(s.orders) + 1)
	s.orders[r.Header.Get("Idempotency-Key")] = id
	w.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprintf(w, `{"order_id":%d,"status":"created","total_cents":1999}`, id)
}

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestFlashSale(t *testing.T) {
	t.Parallel()
	const users, stock = 16, 300
	service := &shop{stock: map[int64]int{7: stock}, orders: map[string]int64{}}
	var last Progress
	var calls int
	var responses int64
	cfg := Config{Target: serve(t, service), Workload: FlashSale, Users: users, FirstUserID: 100, ProductIDs: []int64{7}, Duration: 20 * time.Second,
		Progress: func(p Progress) { last = p; calls++; responses += p.Response.Count() }, ProgressEvery: 20 * time.Millisecond}
	result, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	counts := result.Counts
	if counts.Accepted != stock || counts.Rejected != 2*users || counts.RejectedByCode[CodeOutOfStock] != 2*users ||
		counts.Requests != int64(service.asked) || counts.Requests != stock+2*users {
		t.Errorf("got %+v; the service was asked %d times", counts, service.asked)
	}
	lastAccept := checkReceipts(t, result, service, cfg)
	if want := stock / lastAccept.Seconds(); math.Abs(result.OrdersPerSecond-want) > 1e-6*want {
		t.Errorf("%v orders/s, want %v", result.OrdersPerSecond, want)
	}
	if result.Elapsed < lastTryAfter || result.Elapsed > cfg.Duration || result.Interrupted {
		t.Errorf("took %v, interrupted: %v", result.Elapsed, result.Interrupted)
	}
	if responses != stock {
		t.Errorf("the progress told of %d response times, not %d", responses, stock)
	}
	if calls < 2 || last.Requests() != counts.Requests || last.Accepted != stock || last.Users != 0 || last.Duration != cfg.Duration {
		t.Errorf("%d calls, the last one with %+v", calls, last)
	}
}

// checkReceipts compares each outcome with the service's books, and returns when the
// last order was accepted.
func checkReceipts(t *testing.T, result *Result, service *shop, cfg Config) (lastAccept time.Duration) {
	t.Helper()
	keys := map[[16]byte]bool{}
	for o := range result.Outcomes() {
		if keys[o.Key] {
			t.Errorf("key %s was used twice", KeyString(o.Key))
		}
		keys[o.Key] = true
		if o.UserID < cfg.FirstUserID || o.UserID >= cfg.FirstUserID+int64(cfg.Users) || o.Quantity != 1 || o.Latency <= 0 {
			t.Errorf("got %+v", o)
		}
		if o.Class == Accepted {
			lastAccept = max(lastAccept, o.EndedAt())
			if id := service.orders[KeyString(o.Key)]; o.OrderID != id || o.TotalCents != 1999 {
				t.Errorf("got %+v, want order %d", o, id)
			}
		}
	}
	return lastAccept
}

func TestFlashSaleOfSeveralProducts(t *testing.T) {
	t.Parallel()
	service := &shop{stock: map[int64]int{7: 20, 12345: 20}, orders: map[string]int64{}}
	result, err := Run(t.Context(), Config{Target: serve(t, service), Workload: FlashSale, Users: 16, ProductIDs: []int64{7, 12345}, Seed: 1, Duration: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if result.Counts.Accepted != 40 || result.Counts.Rejected != 32 {
		t.Errorf("got %+v", result.Counts)
	}
	wanted := map[int64]int64{}
	for o := range result.Outcomes() {
		if product, ok := wanted[o.UserID]; ok && product != o.ProductID {
			t.Errorf("user %d wanted product %d and then %d", o.UserID, product, o.ProductID)
		}
		wanted[o.UserID] = o.ProductID
	}
}

func TestSustained(t *testing.T) {
	t.Parallel()
	service := &shop{stock: map[int64]int{1: math.MaxInt32, 2: math.MaxInt32}, orders: map[string]int64{}}
	cfg := Config{Target: serve(t, service), Workload: Sustained, Users: 4, ProductIDs: []int64{1, 2}, Skew: 1,
		Duration: 400 * time.Millisecond, Warmup: 100 * time.Millisecond}
	result, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	checkReceipts(t, result, service, cfg.withDefaults())
	if result.Len() != service.asked || result.Counts.Requests >= int64(service.asked) || result.Counts.Accepted != result.Counts.Requests {
		t.Errorf("%d attempts, the service was asked %d times, measured: %+v", result.Len(), service.asked, result.Counts)
	}
	if result.MeasuredFrom != cfg.Warmup || result.MeasuredTo != cfg.Duration || math.Abs(result.ElapsedSeconds-0.3) > 1e-9 {
		t.Errorf("measured from %v to %v: %v s", result.MeasuredFrom, result.MeasuredTo, result.ElapsedSeconds)
	}
	if hot, cold := math.MaxInt32-service.stock[1], math.MaxInt32-service.stock[2]; cold == 0 || hot <= cold {
		t.Errorf("%d orders of the hot product, %d of the other", hot, cold)
	}
}

// The choices of a run are repeated by its seed.
func TestSeedRepeatsTheChoices(t *testing.T) {
	cfg := Config{Workload: Sustained, Users: 3, ProductIDs: []int64{1, 2, 3, 4}}
	draw := func(seed uint64) (products []int) {
		cfg.Seed = seed
		c := newCrowd(cfg.withDefaults(), target{}, nil)
		for range 20 {
			for _, u := range c.users {
				products = append(products, u.behaviour.product())
			}
		}
		return products
	}
	first, again, other := fmt.Sprint(draw(1)), fmt.Sprint(draw(1)), fmt.Sprint(draw(2))
	if first != again || first == other {
		t.Errorf("seed 1: %s\nagain:  %s\nseed 2: %s", first, again, other)
	}
}

// What is open when a run is interrupted gets a moment, and is unknown then.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const users = 3
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		cfg := oneUser("http://target", time.Minute).withDefaults()
		cfg.Users = users
		dial := pipe(func(far net.Conn) { go silent(far) })
		start := time.Now()
		result, err := newCrowd(cfg, target{host: "target", path: "/orders"}, dial).run(ctx)
		if took := time.Since(start); took != time.Second+answerGrace {
			t.Errorf("took %v", took)
		}
		if !errors.Is(err, ErrInterrupted) || result == nil || !result.Interrupted {
			t.Fatalf("got %+v, %v", result, err)
		}
		if result.Counts.Unknown != users || result.Counts.UnknownByCode[CodeInterrupted] != users || result.Counts.Requests != users {
			t.Errorf("got %+v", result.Counts)
		}
	})
}

func TestInterruptedOnARealConnection(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int64
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 20 {
			cancel()
		}
		w.WriteHeader(http.StatusCreated)
	}))
	start := time.Now()
	result, err := Run(ctx, oneUser(url, time.Minute))
	if !errors.Is(err, ErrInterrupted) || result == nil {
		t.Fatalf("got %v, %v", result, err)
	}
	// The answer to the last request is there in time: nothing is unknown.
	if result.Counts.Accepted != asked.Load() || result.Counts.Unknown != 0 || time.Since(start) > 30*time.Second {
		t.Errorf("%+v of %d after %v", result.Counts, asked.Load(), time.Since(start))
	}
}

func TestInterruptedBeforeTheStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result, err := Run(ctx, oneUser("http://127.0.0.1:1", time.Minute))
	if result != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", result, err)
	}
}

func TestValidate(t *testing.T) {
	good := Config{Target: "http://127.0.0.1:8080", Workload: Sustained, Users: 1, ProductIDs: []int64{1}, Duration: time.Second}
	if err := good.Validate(); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	tests := map[string]func(*Config){
		"only http://":           func(c *Config) { c.Target = "https://127.0.0.1" },
		"unknown workload \"x\"": func(c *Config) { c.Workload = "x" },
		"0 users":                func(c *Config) { c.Users = 0 },
		"no product":             func(c *Config) { c.ProductIDs = nil },
		"skew -1":                func(c *Config) { c.Skew = -1 },
		"skew NaN":               func(c *Config) { c.Skew = math.NaN() },
		"quantity -1":            func(c *Config) { c.Quantity = -1 },
		"quantity 65536":         func(c *Config) { c.Quantity = 65536 },
		"price -1":               func(c *Config) { c.PriceCents = -1 },
		"duration 0s":            func(c *Config) { c.Duration = 0 },
		"warm-up 1s":             func(c *Config) { c.Warmup = time.Second },
		"client time-out -1s":    func(c *Config) { c.ClientTimeout = -time.Second },
		"product 0":              func(c *Config) { c.ProductIDs = []int64{1, 0} },
		"first user -5":          func(c *Config) { c.FirstUserID = -5 },
	}
	for want, spoil := range tests {
		bad := good
		spoil(&bad)
		result, err := Run(t.Context(), bad)
		if result != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}
