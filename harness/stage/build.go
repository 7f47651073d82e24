package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// BuildOptions says how to build a stage. The zero value is what users run.
type BuildOptions struct {
	// Race builds with the race detector. Ask [RaceUnavailable] first.
	Race bool
	// Dir is the folder for the binary; empty means a folder in the user's cache, one for each clone of the project.
	Dir string
	// Version is what the stage says of itself in /health; empty: what it finds out.
	Version string
}

// builds remembers what this process has built already.
var builds struct {
	sync.Mutex
	binaries map[buildKey]string
}

type buildKey struct {
	name string
	opt  BuildOptions
}

// Build compiles the stage with the go command and returns the absolute path of the binary, which lies outside the
// repository. It blocks until the compiler is done, once per stage and options: later calls in this process get the
// same binary. The error carries the compiler's output. Concurrent calls are safe; they build one after the other,
// because the compiler uses all cores anyway. Several processes may build the same stage at once.
func Build(ctx context.Context, name string, opt BuildOptions) (string, error) {
	name, err := Resolve(name)
	if err != nil {
		return "", err
	}
	builds.Lock()
	defer builds.Unlock()
	key := buildKey{name: name, opt: opt}
	if binary, ok := builds.binaries[key]; ok {
		return binary, nil
	}
	binary, err := build(ctx, name, opt)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	if builds.binaries == nil {
		builds.binaries = map[buildKey]string{}
	}
	builds.binaries[key] = binary
	return binary, nil
}

func build(ctx context.Context, name string, opt BuildOptions) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	folder, err := binaryFolder(root, opt.Dir)
	if err != nil {
		return "", err
	}
	file, args := name, []string{"build", "-buildvcs=false"}
	if opt.Race {
		file, args = name+"-race", append(args, "-race")
	}
	if opt.Version != "" {
		file, args = file+"-"+opt.Version, append(args, "-ldflags=-X example.com/flashsale/shop/service.version="+opt.Version)
	}
	final := filepath.Join(folder, file)
	// The compiler writes to a name of our own and a rename puts it in place, so that a process that is just starting the
	// old binary never sees half a new one. The link to the old one, where there is one, lets the go command find that
	// nothing changed and skip linking, which takes seconds.
	fresh := fmt.Sprintf("%s.%d", final, os.Getpid())
	_ = os.Link(final, fresh)
	command := exec.CommandContext(ctx, "go", append(args, "-o", fresh, ".")...)
	command.Dir = filepath.Join(root, name)
	if output, err := command.CombinedOutput(); err != nil {
		_ = os.Remove(fresh)
		return "", fmt.Errorf("%s: %w\n%s", command, err, strings.TrimSpace(string(output)))
	}
	return final, place(fresh, final)
}

// place renames, and removes what is left where old and new are two links to one file: a rename does nothing then.
func place(fresh, final string) error {
	if err := os.Rename(fresh, final); err != nil {
		return err
	}
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// binaryFolder makes and returns the folder for binaries. Two clones of the project must not overwrite each other's, so
// the clone's path is part of the default.
func binaryFolder(root, dir string) (string, error) {
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = filepath.Join(os.TempDir(), fmt.Sprintf("flashsale-%d", os.Getuid()))
		}
		sum := sha256.Sum256([]byte(root))
		dir = filepath.Join(cache, "flashsale", "bin-"+hex.EncodeToString(sum[:4]))
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// RaceUnavailable returns nil where a stage can be built with the race detector, else an error whose text is the reason:
// the platform has none, cgo is off, or there is no working C compiler. It blocks for a fraction of a second and may be
// called concurrently.
func RaceUnavailable(ctx context.Context) error {
	// The go command itself knows which platforms have a race detector and whether cgo is on.
	if output, err := exec.CommandContext(ctx, "go", "list", "-race", "runtime").CombinedOutput(); err != nil {
		return fmt.Errorf("no race detector: %s", strings.TrimSpace(string(output)))
	}
	output, err := exec.CommandContext(ctx, "go", "env", "CC").Output()
	if err != nil {
		return fmt.Errorf("no race detector: go env CC: %w", err)
	}
	words := strings.Fields(string(output))
	if len(words) == 0 {
		return errors.New("no race detector: no C compiler is set")
	}
	// A compiler without the C library's headers is no use either.
	compiler := exec.CommandContext(ctx, words[0], append(words[1:], "-x", "c", "-fsyntax-only", "-")...)
	compiler.Stdin = strings.NewReader("#include <stdlib.h>\nint main(void) { return 0; }\n")
	if output, err := compiler.CombinedOutput(); err != nil {
		return fmt.Errorf("no race detector: C compiler %s: %w %s", words[0], err, strings.TrimSpace(string(output)))
	}
	return nil
}
