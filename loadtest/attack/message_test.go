package attack

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestKeys(t *testing.T) {
	uuid7 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	begin := time.Now().UnixMilli()
	for range 20 {
		source := newKeySource()
		for range 1000 {
			key := source.next()
			text := KeyString(key)
			if !uuid7.MatchString(text) || seen[text] {
				t.Fatalf("bad or repeated key %s", text)
			}
			at := int64(binary.BigEndian.Uint64(key[:8]) >> 16)
			if at < begin || at > time.Now().UnixMilli() {
				t.Fatalf("key %s does not begin with the time in milliseconds", text)
			}
			seen[text] = true
		}
	}
	key := [16]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	if got := KeyString(key); got != "01234567-89ab-cdef-0123-456789abcdef" {
		t.Errorf("got %s", got)
	}
}

// sentOrder is the body as a service reads it.
type sentOrder struct {
	UserID     int64  `json:"user_id"`
	ProductID  int64  `json:"product_id"`
	Quantity   int64  `json:"quantity"`
	PriceCents *int64 `json:"price_cents"`
}

func TestRequestIsWhatAServerExpects(t *testing.T) {
	to := target{host: "shop.example:8080", path: "/v1/orders"}
	for _, price := range []int64{0, 1999} {
		r := newRequest(to, Order{UserID: 42, ProductID: 7, Quantity: 3, PriceCents: price}, 12345)
		size := len(r.bytes)
		for _, product := range []int64{7, 12345, 1, 999} {
			key := newKeySource().next()
			r.setKey(key)
			r.setProduct(product)
			reader := bufio.NewReader(bytes.NewReader(r.bytes))
			req, err := http.ReadRequest(reader)
			if err != nil {
				t.Fatalf("%v in\n%s", err, r.bytes)
			}
			checkHead(t, req, to, key)
			var got sentOrder
			body := json.NewDecoder(req.Body)
			body.DisallowUnknownFields()
			if err := body.Decode(&got); err != nil {
				t.Fatalf("%v in\n%s", err, r.bytes)
			}
			if got.UserID != 42 || got.ProductID != product || got.Quantity != 3 {
				t.Errorf("got %+v, want product %d", got, product)
			}
			if (price > 0) != (got.PriceCents != nil) || got.PriceCents != nil && *got.PriceCents != price {
				t.Errorf("price %v, want %d", got.PriceCents, price)
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil || reader.Buffered() != 0 || len(r.bytes) != size {
				t.Errorf("Content-Length is wrong: %v, %d bytes too many", err, reader.Buffered())
			}
		}
	}
}

func checkHead(t *testing.T, req *http.Request, to target, key [16]byte) {
	t.Helper()
	if req.Method != http.MethodPost || req.URL.Path != to.path || req.Host != to.host {
		t.Errorf("got %s %s at %s", req.Method, req.URL, req.Host)
	}
	if req.Header.Get("Content-Type") != "application/json" || req.Header.Get("Idempotency-Key") != KeyString(key) {
		t.Errorf("got %v", req.Header)
	}
}

// The contract: a 4xx other than 404 and 409, and a 503, promise that nothing was
// placed; 404 and 409 are a valid no; only 200 and 201 are a yes.
func TestClassify(t *testing.T) {
	for status := range 1000 {
		want := Unknown
		switch {
		case status == 201:
			want = Accepted
		case status == 200:
			want = Replayed
		case status == 404 || status == 409:
			want = Rejected
		case status/100 == 4 || status == 503:
			want = Failed
		}
		if got := classify(status); got != want {
			t.Errorf("%d is %v, want %v", status, got, want)
		}
	}
	for status, want := range map[int]Class{400: Failed, 413: Failed, 415: Failed, 500: Unknown, 502: Unknown, 504: Unknown} {
		if got := classify(status); got != want {
			t.Errorf("%d is %v, want %v", status, got, want)
		}
	}
}

func TestClassNames(t *testing.T) {
	for class, want := range []string{"accepted", "replayed", "rejected", "failed", "unknown", "invalid"} {
		if got := Class(class).String(); got != want {
			t.Errorf("class %d is %q, want %q", class, got, want)
		}
	}
}

// problem returns an answer with this status and body.
func problem(status int, header, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Type: application/problem+json\r\n%sContent-Length: %d\r\n\r\n%s",
		status, header, len(body), body)
}

func TestReadAnswer(t *testing.T) {
	tests := []struct {
		name  string
		bytes string
		want  record
		code  string
		ans   answer
	}{
		{"accepted", receipt, record{class: Accepted, status: 201, orderID: 17, totalCents: 1999}, "", answer{noRetryAfter, false}},
		{"replayed", strings.Replace(receipt, "201", "200", 1), record{class: Replayed, status: 200, orderID: 17, totalCents: 1999}, "", answer{noRetryAfter, false}},
		{"chunked", "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n{\"order_id\":1\r\n1\r\n}\r\n0\r\n\r\n",
			record{class: Accepted, status: 201, orderID: 1}, "", answer{noRetryAfter, false}},
		{"continue first", "HTTP/1.1 100 Continue\r\n\r\n" + receipt, record{class: Accepted, status: 201, orderID: 17, totalCents: 1999}, "", answer{noRetryAfter, false}},
		{"unreadable receipt", problem(201, "", "thanks"), record{class: Accepted, status: 201}, "", answer{noRetryAfter, false}},
		{"sold out", problem(409, "", `{"status":409,"code":"out_of_stock"}`), record{class: Rejected, status: 409}, "out_of_stock", answer{noRetryAfter, false}},
		{"no JSON", problem(404, "", "404 page not found"), record{class: Rejected, status: 404}, "http_404", answer{noRetryAfter, false}},
		{"no body", problem(500, "", ""), record{class: Unknown, status: 500}, "http_500", answer{noRetryAfter, false}},
		{"code of another type", problem(400, "", `{"code":7}`), record{class: Failed, status: 400}, "http_400", answer{noRetryAfter, false}},
		{"endless code", problem(400, "", `{"code":"`+strings.Repeat("x", 65)+`"}`), record{class: Failed, status: 400}, "http_400", answer{noRetryAfter, false}},
		{"overloaded", problem(503, "Retry-After: 1\r\n", `{"code":"overloaded"}`), record{class: Failed, status: 503}, "overloaded", answer{time.Second, false}},
		{"overloaded, small letters", problem(503, "retry-after: 0\r\n", `{"code":"overloaded"}`), record{class: Failed, status: 503}, "overloaded", answer{0, false}},
		{"overloaded, until a date", problem(503, "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", `{}`), record{class: Failed, status: 503}, "http_503", answer{noRetryAfter, false}},
		{"overloaded for ever", problem(503, "Retry-After: 99999999999999999999\r\n", `{}`), record{class: Failed, status: 503}, "http_503", answer{noRetryAfter, false}},
		{"closing", problem(504, "Connection: close\r\n", `{"code":"timeout"}`), record{class: Unknown, status: 504}, "timeout", answer{noRetryAfter, true}},
	}
	var codes codeTable
	reader := newAnswerReader() // one for all: nothing must be left over
	for _, tt := range tests {
		var got record
		ans, err := reader.read(strings.NewReader(tt.bytes), &codes, &got)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if text := codes.text(got.code); text != tt.code {
			t.Errorf("%s: code %q, want %q", tt.name, text, tt.code)
		}
		got.code = 0
		if got != tt.want || ans != tt.ans {
			t.Errorf("%s: got %+v, %+v\nwant %+v, %+v", tt.name, got, ans, tt.want, tt.ans)
		}
	}
}

func TestReadAnswerBounds(t *testing.T) {
	reader := newAnswerReader()
	read := func(bytes string) error {
		_, err := reader.read(strings.NewReader(bytes), &codeTable{}, &record{})
		return err
	}
	if err := read(problem(500, "", strings.Repeat("x", maxResponseBody))); err != nil {
		t.Errorf("a body of the largest size: %v", err)
	}
	if err := read(problem(500, "", strings.Repeat("x", maxResponseBody+1))); !errors.Is(err, errAnswerTooLarge) {
		t.Errorf("a larger body: %v", err)
	}
	if err := read(problem(500, "X: "+strings.Repeat("x", readBufferSize)+"\r\n", "")); err == nil {
		t.Error("a head of any size was read")
	}
}

func TestParseTarget(t *testing.T) {
	good := map[string]target{
		"http://127.0.0.1:8080":       {"127.0.0.1:8080", "127.0.0.1:8080", "/orders"},
		"http://127.0.0.1:8080/":      {"127.0.0.1:8080", "127.0.0.1:8080", "/orders"},
		"http://[::1]:8080":           {"[::1]:8080", "[::1]:8080", "/orders"},
		"http://stage3:8080/shop/v1/": {"stage3:8080", "stage3:8080", "/shop/v1/orders"},
		"http://shop.example":         {"shop.example:80", "shop.example", "/orders"},
		"http://[::1]":                {"[::1]:80", "[::1]", "/orders"},
	}
	for raw, want := range good {
		if got, err := parseTarget(raw); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", raw, got, err)
		}
	}
	bad := map[string]string{
		"":                        "no target",
		"https://shop.example":    "only http:// is supported, not https://",
		"127.0.0.1:8080":          "no base URL",
		"localhost:8080":          "no base URL",
		"http://":                 "no base URL",
		"http://shop.example?a=b": "has no user, query or fragment",
		"http://me@shop.example":  "has no user, query or fragment",
		"http://shop.example:x":   "no base URL",
	}
	for raw, want := range bad {
		if _, err := parseTarget(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", raw, err, want)
		}
	}
}

// What is done for every request must not make work for the garbage collector.
func TestNoMemoryPerRequest(t *testing.T) {
	var codes codeTable
	reader := newAnswerReader()
	r := newRequest(target{}, Order{UserID: 1, ProductID: 7, Quantity: 1}, 7)
	keys := newKeySource()
	for _, bytes := range []string{receipt, problem(409, "", `{"code":"out_of_stock"}`), problem(503, "Retry-After: 1\r\n", `{"code":"overloaded"}`)} {
		source := strings.NewReader(bytes)
		var rec record
		got := testing.AllocsPerRun(1000, func() {
			source.Reset(bytes)
			r.setKey(keys.next())
			r.setProduct(7)
			if _, err := reader.read(source, &codes, &rec); err != nil {
				t.Fatal(err)
			}
		})
		if got >= 1 {
			t.Errorf("%.2f allocations for %s", got, bytes[:12])
		}
	}
}

func BenchmarkPrepareAndRead(b *testing.B) {
	var codes codeTable
	reader := newAnswerReader()
	r := newRequest(target{}, Order{UserID: 1, ProductID: 7, Quantity: 1}, 7)
	keys := newKeySource()
	source := strings.NewReader(receipt)
	var rec record
	b.ReportAllocs()
	for b.Loop() {
		source.Reset(receipt)
		r.setKey(keys.next())
		r.setProduct(7)
		if _, err := reader.read(source, &codes, &rec); err != nil {
			b.Fatal(err)
		}
	}
}
