package users

import (
	"fmt"
	"os"
	"testing"

	"example.com/flashsale/harness/backing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := backing.Main(m, backing.Options{})
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
