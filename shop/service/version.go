package service

import "runtime/debug"

// version is set by go build -ldflags "-X example.com/flashsale/shop/service.version=1.2.3".
var version string

// Version returns what this program was built from, as /health shows it: what
// the linker was told, else what the go command knows of the repository, else
// "devel".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
