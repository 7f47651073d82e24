package attack

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// maxQuantity is what fits into a log record.
const maxQuantity = 1<<16 - 1

// target is where the orders go.
type target struct {
	addr string // host:port to dial
	host string // Host header
	path string // of the orders
}

// parseTarget reads a base URL.
func parseTarget(raw string) (target, error) {
	if raw == "" {
		return target{}, fmt.Errorf("no target: give a base URL like http://127.0.0.1:8080")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return target{}, fmt.Errorf("target %q is no base URL like http://127.0.0.1:8080", raw)
	}
	if u.Scheme != "http" {
		return target{}, fmt.Errorf("target %q: only http:// is supported, not %s://", raw, u.Scheme)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return target{}, fmt.Errorf("target %q: a base URL has no user, query or fragment", raw)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return target{
		addr: net.JoinHostPort(u.Hostname(), port),
		host: u.Host,
		path: strings.TrimSuffix(u.EscapedPath(), "/") + "/orders",
	}, nil
}
