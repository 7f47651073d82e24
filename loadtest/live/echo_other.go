//go:build !linux

package live

import "os"

// Foreground says whether this process may draw on the terminal. Here nobody knows, so it may.
func Foreground(*os.File) bool { return true }

// withoutEcho leaves the terminal as it is.
func withoutEcho(*os.File) (restore func()) { return func() {} }
