package backing

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
)

// suite is the one set of services of a test binary.
var suite struct {
	mu       sync.Mutex
	running  bool // within Main
	opt      Options
	services *Services
	err      error
}

// Main runs the tests of a package with services on call, and returns the exit code:
//
//	func TestMain(m *testing.M) { os.Exit(backing.Main(m, backing.Options{Redis: true})) }
//
// Nothing is started before the first ForTest; what was started is closed at the end.
func Main(m *testing.M, opt Options) int {
	suite.mu.Lock()
	suite.running, suite.opt = true, opt
	suite.mu.Unlock()

	code := m.Run()

	suite.mu.Lock()
	defer suite.mu.Unlock()
	suite.running = false
	if suite.services == nil {
		return code
	}
	if err := suite.services.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "close backing services:", err)
		return max(code, 1)
	}
	return code
}

// ForTest returns the services of this test binary, and starts them at the first call, which blocks until they answer.
// All tests share them; each should make its own database (NewDatabase). It ends the test where they cannot be had.
func ForTest(t testing.TB) *Services {
	t.Helper()
	suite.mu.Lock()
	defer suite.mu.Unlock()
	if !suite.running {
		t.Fatal("backing.ForTest needs backing.Main in TestMain")
	}
	if suite.services == nil && suite.err == nil {
		// Not the test's context: the services outlive this test.
		opt := suite.opt
		opt.private = true
		suite.services, suite.err = Start(context.Background(), opt)
	}
	if suite.err != nil {
		t.Fatal("backing services: ", suite.err)
	}
	return suite.services
}
