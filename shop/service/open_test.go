package service

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/harness/backing"
	"example.com/flashsale/shop/guard"
	"example.com/flashsale/shop/order"
)

// newDatabase returns the URL of an empty database of this test's own.
func newDatabase(t *testing.T) string {
	t.Helper()
	postgres := backing.ForTest(t).Postgres
	url, drop, err := backing.NewDatabase(t.Context(), postgres.URL)
	if err != nil {
		t.Fatal(err)
	}
	if postgres.Source != backing.LocalBinaries && postgres.Source != backing.Container {
		t.Cleanup(func() { // where the server is not thrown away as a whole
			if err := drop(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	return url
}

func config(url, guardName string) *Config {
	return &Config{
		Addr: "127.0.0.1:0", DatabaseURL: url, Guard: guardName, DBConns: 2, QueueCap: 64, RequestTimeout: patience,
		ShutdownTimeout: patience, stage: "stage0-test",
	}
}

// open migrates and opens; the backend is closed at the end of the test.
func open(t *testing.T, cfg *Config) *Backend {
	t.Helper()
	if err := cfg.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := cfg.Open(t.Context(), 2, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// TestOpen: with each guard an order can be placed and users can be found.
func TestOpen(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	for _, name := range guard.Names() {
		cfg := config(url, name)
		cfg.RedisURL = backing.ForTest(t).Redis.URL
		cfg.UserLatency = time.Millisecond
		b := open(t, cfg)
		r, err := b.Guard.Place(t.Context(), order.Request{UserID: 1, ProductID: 1, Quantity: 1, Key: name})
		if err != nil || r.OrderID == 0 {
			t.Errorf("%s: Place() = %+v, %v", name, r, err)
		}
		stranger := b.Users().LookUp(t.Context(), 10_001)
		coalesced := b.CoalescedUsers().LookUp(t.Context(), 10_001)
		want := order.UserNotFound
		if guard.ChecksUsers(b.Guard) {
			want = order.Internal // which is none: the guard looks users up itself
		}
		if order.KindOf(stranger) != want || order.KindOf(coalesced) != want || (want == order.Internal) != (stranger == nil && coalesced == nil) {
			t.Errorf("%s: a stranger is %v, coalesced %v", name, stranger, coalesced)
		}
		if err := b.Users().LookUp(t.Context(), 1); err != nil {
			t.Errorf("%s: user 1: %v", name, err)
		}
		read := b.CoalescedProducts()
		if p, err := read(t.Context(), 1); err != nil || p.ID != 1 || p.PriceCents != 1999 {
			t.Errorf("%s: product 1: %+v, %v", name, p, err)
		}
		if _, err := read(t.Context(), 2); order.KindOf(err) != order.ProductNotFound {
			t.Errorf("%s: product 2: %v", name, err)
		}
	}
}

// TestOpenRefuses: what cannot be reached is a sentence, without the password.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	closed := closedPort(t)
	lost := config("postgres://shop:hunter2@"+closed+"/shop", guard.None)
	garbled := config("postgres://shop:hunter2@%zz", guard.None)
	noRedis := config(url, guard.Redlock)
	noRedis.RedisURL = "redis://:hunter2@" + closed
	for name, tt := range map[string]struct {
		cfg     *Config
		migrate string // what Migrate says, if it fails
		open    string
	}{
		"nobody listens": {lost, "the database cannot be used: ", "the database cannot be used: "},
		"no URL":         {garbled, "the database cannot be used: ", "the database cannot be used: "},
		"no Redis":       {noRedis, "", "guard redlock cannot be used: redis does not answer: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			migrated := tt.cfg.Migrate(t.Context())
			_, opened := tt.cfg.Open(t.Context(), 1, slog.New(slog.DiscardHandler))
			if tt.migrate == "" && migrated != nil {
				t.Errorf("Migrate() = %v", migrated)
			}
			if tt.migrate != "" {
				wantConfigError(t, migrated, tt.migrate)
			}
			wantConfigError(t, opened, tt.open)
			for _, err := range []error{migrated, opened} {
				if err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the password leaks: %v", err)
				}
			}
		})
	}
}

// closedPort returns an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func TestListen(t *testing.T) {
	t.Parallel()
	cfg := config("", guard.None)
	ln, err := cfg.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	for name, addr := range map[string]string{"taken": ln.Addr().String(), "no port": "127.0.0.1", "no such port": "127.0.0.1:65536"} {
		_, err := (&Config{Addr: addr}).Listen(t.Context())
		if wantConfigError(t, err, "cannot listen on "+addr); t.Failed() {
			t.Errorf("%s: %v", name, err)
		}
	}
}
