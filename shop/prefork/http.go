package prefork

import (
	"context"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// How long Server.Shutdown leaves silent connections open, so that a client that is about to use one is answered and told
// to close it.
const (
	IdleGrace = 250 * time.Millisecond // those that have been used
	NewGrace  = time.Second            // those on which nothing has come yet: who has just connected wants something
)

// Server is an http.Server whose Shutdown loses no request (HTTP/1). http.Server.Shutdown closes connections without an
// answer although a request has arrived: those that were accepted just before (golang.org/issue/75591), and idle
// keep-alive connections that the client is using again at that moment. With every reload and every recycled worker that
// would be a failed request.
//
// Server answers them all, and says "Connection: close" in every answer to a request that came after Shutdown began. What
// it closes itself has been silent for its grace.
type Server struct {
	http      *http.Server
	closing   atomic.Bool
	unwatched bool          // see IgnoreDisconnects
	served    chan struct{} // closed when Serve has returned: no connection comes after that
	changed   chan struct{} // a connection changed its state; holds one

	mu sync.Mutex
	ln net.Listener

	busy atomic.Int64 // nanoseconds of all requests that are answered

	conns sync.Map // of net.Conn to *connection; no lock per request
}

// connection is what is known of an open connection.
type connection struct {
	conn  *unwatchedConn // nil when clients are watched
	state atomic.Int32   // http.ConnState
	since atomic.Int64   // when it got that state, in nanoseconds since the epoch
	shed  atomic.Bool    // to be closed with its next answer
}

// connectionKey is the context key of a request's *connection.
type connectionKey struct{}

// NewServer wraps server. It takes over its Handler and its hooks ConnState and ConnContext, and calls those that were set; the caller
// serves and shuts down through the result only.
func NewServer(server *http.Server) *Server {
	s := &Server{http: server, served: make(chan struct{}), changed: make(chan struct{}, 1)}
	handler, hook, withContext := server.Handler, server.ConnState, server.ConnContext
	if handler == nil {
		handler = http.DefaultServeMux
	}
	server.Handler = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		c, _ := req.Context().Value(connectionKey{}).(*connection)
		if s.closing.Load() || (c != nil && c.shed.Load()) {
			rw.Header().Set("Connection", "close")
		}
		if c != nil && c.conn != nil && req.ContentLength > 0 {
			c.conn.answering.Store(true)
			defer c.conn.answering.Store(false)
		}
		handler.ServeHTTP(rw, req)
	})
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		c := &connection{} // its state 0 is http.StateNew
		c.conn, _ = conn.(*unwatchedConn)
		s.conns.Store(conn, c)
		if withContext != nil {
			ctx = withContext(ctx, conn)
		}
		return context.WithValue(ctx, connectionKey{}, c)
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		s.track(conn, state)
		if hook != nil {
			hook(conn, state)
		}
	}
	return s
}

// Serve accepts from ln and blocks until that fails, or until Shutdown, when it returns http.ErrServerClosed. Call it once.
func (s *Server) Serve(ln net.Listener) error {
	defer close(s.served)
	if s.unwatched {
		ln = unwatchedListener{ln}
	}
	s.mu.Lock()
	s.ln = ln
	s.mu.Unlock()
	if s.closing.Load() {
		return http.ErrServerClosed
	}
	err := s.http.Serve(ln)
	if s.closing.Load() {
		return http.ErrServerClosed
	}
	return err
}

// Shutdown closes the listener, answers every request that has been sent on an open connection, and returns when all
// connections are closed or ctx ends; then it returns the context's error, and Close ends the rest. Call it once, after
// Serve was called.
func (s *Server) Shutdown(ctx context.Context) error {
	s.closing.Store(true)
	s.mu.Lock()
	ln := s.ln
	s.mu.Unlock()
	if ln != nil {
		_ = ln.Close()
	}
	select {
	case <-s.served:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	return s.http.Shutdown(ctx)
}

// Close closes all connections at once.
func (s *Server) Close() error {
	s.closing.Store(true)
	return s.http.Close()
}

// settle waits until all connections are closed, or none is active and the others have been silent for their grace. That
// takes from every connection at most what is in flight, answered without "Connection: close", and one request more.
func (s *Server) settle(ctx context.Context) error {
	silentSince := time.Now()
	timer := time.NewTimer(IdleGrace)
	defer timer.Stop()
	for {
		silent := time.Since(silentSince)
		active, fresh, open := s.count()
		if open == 0 || (active == 0 && silent >= NewGrace) || (active+fresh == 0 && silent >= IdleGrace) {
			s.closeNew()
			return nil
		}
		select {
		case <-s.changed:
			silentSince = time.Now()
			timer.Reset(IdleGrace)
		case <-timer.C:
			timer.Reset(NewGrace - IdleGrace)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// closeNew closes the connections on which nothing has come yet: http.Server.Shutdown would wait seconds for them.
func (s *Server) closeNew() {
	for conn, state := range s.states() {
		if state == http.StateNew {
			_ = conn.Close()
		}
	}
}

// track is the hook for a connection's state.
func (s *Server) track(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew: // ConnContext was called just before
	case http.StateClosed, http.StateHijacked:
		s.conns.Delete(conn) // the rest of a request that was cut off counts nowhere
	default:
		if v, ok := s.conns.Load(conn); ok {
			c, now := v.(*connection), time.Now().UnixNano()
			if http.ConnState(c.state.Load()) == http.StateActive {
				s.busy.Add(now - c.since.Load())
			}
			c.since.Store(now) // first: an old time with a new state would look like a long wait
			c.state.Store(int32(state))
		}
	}
	if s.closing.Load() {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// states ranges over the open connections.
func (s *Server) states() iter.Seq2[net.Conn, http.ConnState] {
	return func(yield func(net.Conn, http.ConnState) bool) {
		s.conns.Range(func(conn, state any) bool {
			return yield(conn.(net.Conn), http.ConnState(state.(*connection).state.Load()))
		})
	}
}

// Shed makes room for other processes: it closes about this share of the connections, 0 to 1, each with the next answer on
// it, which says "Connection: close". So no request is lost, and clients that want more connect anew. It does not wait, and
// may be called concurrently.
func (s *Server) Shed(share float64) {
	s.conns.Range(func(_, v any) bool {
		if rand.Float64() < share {
			v.(*connection).shed.Store(true)
		}
		return true
	})
}

// LongestActive returns how long the request that has been in flight for the longest time has been so, from its first
// byte on, or 0. With a bound that no request may reach it tells a server that hangs; see Worker.BeatIf. It may be called
// concurrently.
func (s *Server) LongestActive() time.Duration {
	longest := time.Duration(0)
	now := time.Now().UnixNano()
	s.conns.Range(func(_, v any) bool {
		c := v.(*connection)
		if http.ConnState(c.state.Load()) == http.StateActive {
			longest = max(longest, time.Duration(now-c.since.Load()))
		}
		return true
	})
	return longest
}

// BusyTime returns the time that requests have taken, all of them together, up to the last answer of each connection. Its
// growth in a second, in seconds, is the mean number of requests in flight. It may be called concurrently.
func (s *Server) BusyTime() time.Duration { return time.Duration(s.busy.Load()) }

func (s *Server) count() (active, fresh, open int) {
	for _, state := range s.states() {
		open++
		switch state {
		case http.StateActive:
			active++
		case http.StateNew:
			fresh++
		}
	}
	return active, fresh, open
}
