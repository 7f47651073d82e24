package backing

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"example.com/flashsale/harness/backing/internal/supervise"
)

// unprivileged is the user to run servers as: nil, this one, unless it is root, whom Postgres refuses to serve.
func unprivileged() (*supervise.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &supervise.User{UID: uint32(uid), GID: uint32(gid)}, nil
	}
	return nil, absentError("this is root, and there is no user postgres or nobody to run servers as")
}

// dataFolder names a folder that does not exist yet, in the first of the candidates that is on a disk, that we may
// write to, and that user can reach.
func dataFolder(name string, candidates []string, user *supervise.User) (string, error) {
	var reasons []string
	for _, dir := range candidates {
		dir, err := filepath.Abs(dir)
		if err == nil {
			err = suitable(dir, user)
		}
		if err == nil {
			return filepath.Join(dir, "flashsale-"+name+"-"+strings.ToLower(rand.Text()[:10])), nil
		}
		reasons = append(reasons, err.Error())
	}
	return "", fmt.Errorf("no folder for its data: %s (set TMPDIR)", strings.Join(reasons, "; "))
}

func suitable(dir string, user *supervise.User) error {
	memory, err := inMemory(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if memory {
		return fmt.Errorf("%s is in memory, where fsync is free", dir)
	}
	const write, search = 2, 1
	if err := syscall.Access(dir, write|search); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if user != nil && !reachable(dir, user) {
		return fmt.Errorf("%s cannot be reached by user %d", dir, user.UID)
	}
	return nil
}

// reachable says whether user may search dir and all folders above it.
func reachable(dir string, user *supervise.User) bool {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	for d := resolved; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil || !searchable(info, user) {
			return false
		}
		if d == filepath.Dir(d) {
			return true
		}
	}
}

func searchable(info fs.FileInfo, user *supervise.User) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	switch {
	case st.Uid == user.UID:
		return info.Mode()&0o100 != 0
	case st.Gid == user.GID:
		return info.Mode()&0o010 != 0
	}
	return info.Mode()&0o001 != 0
}
