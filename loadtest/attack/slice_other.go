//go:build !linux

package attack

// wakeSooner does nothing here.
func wakeSooner() (undo func()) { return func() {} }
