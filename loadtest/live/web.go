package live

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// maxViewers is how many browsers may watch; a further one is told to come back later.
	maxViewers = 16
	// maxConnections bounds the open connections, those of viewers included.
	maxConnections = 2 * maxViewers
	// sendEvery is how often a viewer gets a new state.
	sendEvery = 250 * time.Millisecond
	// sendTimeout is how long a viewer may take to receive one; a slower one is let go.
	sendTimeout = 2 * time.Second
	// headerTimeout and idleTimeout bound the rest of a connection's life.
	headerTimeout = 5 * time.Second
	idleTimeout   = 30 * time.Second
	maxHeader     = 16 << 10
	// goodbyeTimeout is how long viewers may take to learn that it is over.
	goodbyeTimeout = 3 * time.Second
)

//go:embed page.html
var page []byte

// policy lets the page use what is in it and ask this server; nothing else.
const policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Server is the view as a web page. Each viewer asks the board by itself, so a slow one delays nobody.
type Server struct {
	listener net.Listener
	server   *http.Server
	state    func() State
	viewers  chan struct{} // a place for each
	over     chan struct{} // closed: say goodbye
	closing  sync.Once
	served   sync.WaitGroup
}

// ParseAddr returns the address to listen on: "9090" and ":9090" mean loopback only, since whoever reaches the page sees
// the run.
func ParseAddr(addr string) (string, error) {
	if !strings.Contains(addr, ":") {
		addr = ":" + addr
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%q is no address: use a port such as 9090, or HOST:PORT", addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%q is no port: use a number up to 65535", port)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// Serve begins to serve on an address from ParseAddr and returns once it listens. The caller must Close it.
func Serve(ctx context.Context, addr string, state func() State) (*Server, error) {
	var how net.ListenConfig
	listener, err := how.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{listener: listener, state: state, viewers: make(chan struct{}, maxViewers), over: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /events", s.events)
	s.server = &http.Server{
		Handler: s.ownHost(mux), ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
	s.served.Go(func() { _ = s.server.Serve(netutil.LimitListener(listener, maxConnections)) }) // ends with Close
	return s, nil
}

// ownHost refuses requests to a loopback address that name another host: a page from elsewhere, whose name its owner lets
// point to loopback, could read the view in somebody's browser (DNS rebinding). Whoever listens on other addresses lets
// others watch.
func (s *Server) ownHost(next http.Handler) http.Handler {
	if addr, ok := s.listener.Addr().(*net.TCPAddr); !ok || !addr.IP.IsLoopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.Host) {
			http.Error(w, "this page is for localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopback says whether the Host of a request is localhost or a loopback address, with any port or none.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// URL returns where the page is.
func (s *Server) URL() string {
	addr := s.listener.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(addr.Port)) + "/"
}

// Close sends the last state to all viewers and ends. It blocks until they have it, three seconds at most. It may be
// called again.
func (s *Server) Close() {
	s.closing.Do(func() {
		close(s.over)
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		if s.server.Shutdown(ctx) != nil {
			_ = s.server.Close()
		}
		s.served.Wait()
	})
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendTimeout))
	_, _ = w.Write(page)
}

// events sends the state again and again, as server-sent events (the HTML standard, section 9.2), until it is over or the
// viewer has gone.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.viewers <- struct{}{}:
		defer func() { <-s.viewers }()
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many viewers", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	to := http.NewResponseController(w)
	_ = to.SetReadDeadline(time.Time{}) // there is nothing to be read any more
	ticker := time.NewTicker(sendEvery)
	defer ticker.Stop()
	for {
		if err := s.send(w, to); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		case <-s.over:
			_ = s.send(w, to)
			return
		}
	}
}

func (s *Server) send(w http.ResponseWriter, to *http.ResponseController) error {
	text, err := json.Marshal(s.state())
	if err != nil {
		return err
	}
	if err := to.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := fmt.Fprintf(w, "data: %s\n\n", text); err != nil {
		return err
	}
	return to.Flush()
}
