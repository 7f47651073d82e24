package conformance

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/flashsale/harness/contract"
)

// testRedis shows that the guards that do not use Redis do not need it, and what a stage does whose Redis goes away.
func testRedis(t *testing.T, s *suite) {
	t.Run("not needed", func(t *testing.T) {
		f := s.prepare(t, "GUARD=conditional")
		f.spec.RedisURL = "redis://" + closedAddr
		f.run()
		f.mustBuy(contract.Buy(f.product(1)))
	})
	t.Run("lost", func(t *testing.T) {
		if !slices.Contains(s.opt.Guards, "redlock") {
			t.Skipf("guard redlock is not safe in %s", s.name)
		}
		checkLostRedis(t, s)
	})
}

// checkLostRedis cuts the stage off from Redis for a while: nothing can be sold without the lock, every order is turned
// away in time, and afterwards the stage sells on.
func checkLostRedis(t *testing.T, s *suite) {
	const timeout = 300 * time.Millisecond
	f := s.prepare(t, "GUARD=redlock", "REQUEST_TIMEOUT="+timeout.String())
	address, err := url.Parse(f.spec.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	relay := newRelay(t, address.Host)
	address.Host = relay.addr
	f.spec.RedisURL = address.String()
	f.run()
	product := f.product(10)
	f.mustBuy(contract.Buy(product))
	relay.cut()
	o := contract.Buy(product)
	a := f.mustOrder(o)
	wantProblem(t, a, http.StatusServiceUnavailable, "overloaded")
	if a.Took > timeout+atOnce {
		t.Errorf("the answer took %v with a time-out of %v", a.Took, timeout)
	}
	f.wantSold(product, 1, 9)
	relay.mend(t)
	eventually(t, "the stage sells again", func() bool { return f.mustOrder(o).Status == http.StatusCreated })
	f.wantSold(product, 2, 8)
}

// relay passes TCP connections on to a target until it is cut.
type relay struct {
	addr, target string
	listener     net.Listener
	tasks        sync.WaitGroup

	mu    sync.Mutex
	open  []net.Conn
	isCut bool
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	r := &relay{addr: "127.0.0.1:0", target: target}
	r.mend(t)
	t.Cleanup(r.cut)
	return r
}

// mend listens, after a cut on the same port again.
func (r *relay) mend(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	r.addr, r.listener, r.isCut = listener.Addr().String(), listener, false
	r.tasks.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			r.tasks.Go(func() { r.pass(t.Context(), from) })
		}
	})
}

// cut ends all connections and refuses new ones. It waits until nothing moves any more.
func (r *relay) cut() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.isCut = true
	for _, conn := range r.open {
		_ = conn.Close()
	}
	r.open = nil
	r.mu.Unlock()
	r.tasks.Wait()
}

// pass copies both ways until one side ends.
func (r *relay) pass(ctx context.Context, from net.Conn) {
	defer func() { _ = from.Close() }()
	var dialer net.Dialer
	to, err := dialer.DialContext(ctx, "tcp", r.target)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	if !r.keep(from, to) {
		return
	}
	r.tasks.Go(func() {
		_, _ = io.Copy(from, to)
		_ = from.Close()
	})
	_, _ = io.Copy(to, from)
}

// keep notes the connections for cut, and says whether it came in time.
func (r *relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isCut {
		return false
	}
	r.open = append(r.open, conns...)
	return true
}
