package store

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

// proxy stands between a store and its database, and cuts connections.
type proxy struct {
	*toxiproxy.Proxy
	url string // of the database, through the proxy
}

func newProxy(t *testing.T, dbURL string) *proxy {
	t.Helper()
	cfg, err := pgx.ParseConfig(dbURL)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(cfg.Host, "/") {
		t.Skip("the database answers on a Unix socket; the proxy speaks TCP")
	}
	upstream := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := &proxy{Proxy: toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", upstream)}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	u, err := url.Parse(dbURL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = p.Listen
	p.url = u.String()
	return p
}

// cutAnswers makes the proxy close a connection at the next byte that the
// server sends; what the client sends still arrives.
func (p *proxy) cutAnswers(t *testing.T) {
	t.Helper()
	p.toxic(t, `{"name":"cut","type":"limit_data","stream":"downstream","attributes":{"bytes":0}}`)
}

// cutRequests makes it close a connection at the next byte that the client
// sends, which does not arrive.
func (p *proxy) cutRequests(t *testing.T) {
	t.Helper()
	p.toxic(t, `{"name":"cut","type":"limit_data","stream":"upstream","attributes":{"bytes":0}}`)
}

// swallowAnswers makes it drop what the server sends and keep the connection.
func (p *proxy) swallowAnswers(t *testing.T) {
	t.Helper()
	p.toxic(t, `{"name":"cut","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`)
}

func (p *proxy) toxic(t *testing.T, json string) {
	t.Helper()
	if _, err := p.Toxics.AddToxicJson(strings.NewReader(json)); err != nil {
		t.Fatal(err)
	}
}

// mend lets new connections live.
func (p *proxy) mend(t *testing.T) {
	t.Helper()
	if err := p.Toxics.RemoveToxic(t.Context(), "cut"); err != nil {
		t.Fatal(err)
	}
}

// asUser is the same database for another user.
func asUser(t *testing.T, dbURL, user, password string) string {
	t.Helper()
	u, err := url.Parse(dbURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

// behind returns a shop whose store reaches the database through a proxy.
func behind(t *testing.T, cfg Config) (*shop, *proxy) {
	t.Helper()
	s := newShop(t, Config{})
	p := newProxy(t, s.url)
	cfg.URL, cfg.AppName = p.url, "behind-proxy"
	s.Store = openStore(t, cfg)
	return s, p
}
