package prefork

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// IdleGrace is how long Server.Shutdown leaves idle connections open, so that a client that is about to use one again is
// answered and told to close it.
const IdleGrace = 250 * time.Millisecond

// Server is an http.Server whose Shutdown loses no request (HTTP/1). http.Server.Shutdown closes connections without an
// answer although a request has arrived: those that were accepted just before (golang.org/issue/75591), and idle
// keep-alive connections that the client is using again at that moment. With every reload and every recycled worker that
// would be a failed request.
//
// Server answers them all, with "Connection: close", and closes only what has been silent for IdleGrace.
type Server struct {
	http    *http.Server
	closing atomic.Bool
	served  chan struct{} // closed when Serve has returned: no connection comes after that
	changed chan struct{} // a connection changed its state; holds one

	mu    sync.Mutex
	ln    net.Listener
	conns map[net.Conn]http.ConnState
}

// NewServer wraps server. It takes over its Handler and its ConnState hook, and calls those that were set; the caller
// serves and shuts down through the result only.
func NewServer(server *http.Server) *Server {
	s := &Server{
		http: server, served: make(chan struct{}), changed: make(chan struct{}, 1), conns: map[net.Conn]http.ConnState{},
	}
	handler, hook := server.Handler, server.ConnState
	if handler == nil {
		handler = http.DefaultServeMux
	}
	server.Handler = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if s.closing.Load() {
			rw.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(rw, req)
	})
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

// settle waits until all connections are closed, or none is active and the others had their time.
func (s *Server) settle(ctx context.Context) error {
	grace := time.NewTimer(IdleGrace)
	defer grace.Stop()
	graceOver := false
	for {
		active, open := s.count()
		if open == 0 || (graceOver && active == 0) {
			s.closeNew()
			return nil
		}
		select {
		case <-s.changed:
		case <-grace.C:
			graceOver = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// closeNew closes the connections on which nothing has come yet: http.Server.Shutdown would wait seconds for them.
func (s *Server) closeNew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, state := range s.conns {
		if state == http.StateNew {
			_ = conn.Close()
		}
	}
}

func (s *Server) track(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(s.conns, conn)
	default:
		s.conns[conn] = state
	}
	s.mu.Unlock()
	if s.closing.Load() {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

func (s *Server) count() (active, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, state := range s.conns {
		if state == http.StateActive {
			active++
		}
	}
	return active, len(s.conns)
}
