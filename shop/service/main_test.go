package service

import (
	"fmt"
	"os"
	"testing"

	"example.com/flashsale/harness/backing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if run, ok := children[os.Getenv(childEnv)]; ok {
		os.Exit(run())
	}
	code := backing.Main(m, backing.Options{Redis: true, Embedded: true})
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
