package backing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// shares is the place where processes of one user tell each other of one kind of service: a small file, 0600, in the
// user's cache folder. What it says holds as long as the process that wrote it lives.
type shares struct {
	file string // "" when the user has no cache folder: nothing is found, nothing can be published
	name string
}

// published is the file's content.
type published struct {
	URL     string `json:"url"`
	PID     int    `json:"pid"`
	Started string `json:"started"` // of the process, see startTime; pids are used again, pairs are not
	Version string `json:"version"`
}

func (m machine) shares(k kind) shares {
	if m.cache == "" {
		return shares{name: k.name}
	}
	return shares{file: filepath.Join(m.cache, k.name+".json"), name: k.name}
}

// lock makes its holder the only one that may publish or remove. It blocks until the lock is free or ctx ends; the
// kernel frees it when a holder dies.
func (s shares) lock(ctx context.Context) (unlock func(), err error) {
	if s.file == "" {
		return nil, fmt.Errorf("cannot share %s: no cache folder (set HOME or XDG_CACHE_HOME)", s.name)
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o700); err != nil {
		return nil, fmt.Errorf("cannot share %s: %w", s.name, err)
	}
	l := flock.New(s.file+".lock", flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return nil, fmt.Errorf("wait for another process that starts %s: %w", s.name, err)
	}
	// The file stays: removing a lock file lets two processes lock two different ones.
	return func() { _ = l.Close() }, nil
}

// lookup returns the instance of a living process, if it answers. It removes the file of a dead one.
func (s shares) lookup(ctx context.Context, check check) (Service, bool) {
	p, err := s.read()
	if err != nil {
		return Service{}, false
	}
	if !p.alive() {
		s.removeStale(p)
		return Service{}, false
	}
	version, err := check.within(ctx, checkTimeout, p.URL)
	if err != nil {
		return Service{}, false // it may just be starting or stopping: not ours to remove
	}
	return Service{URL: p.URL, Source: SharedInstance, Version: cmp.Or(version, p.Version)}, true
}

// read trusts only a private file of our own user: it decides where passwords are sent.
func (s shares) read() (published, error) {
	if s.file == "" {
		return published{}, fs.ErrNotExist
	}
	info, err := os.Lstat(s.file)
	if err != nil {
		return published{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || info.Mode() != 0o600 {
		return published{}, fmt.Errorf("%s is not a private file of this user", s.file)
	}
	data, err := os.ReadFile(s.file)
	if err != nil {
		return published{}, err
	}
	var p published
	return p, json.Unmarshal(data, &p)
}

// alive says whether the process that published p still runs.
func (p published) alive() bool {
	started, err := startTime(p.PID)
	return err == nil && started == p.Started
}

// removeStale removes the file if it still says p. Without the lock it does nothing: someone is about to replace it.
func (s shares) removeStale(p published) {
	l := flock.New(s.file + ".lock")
	locked, err := l.TryLock()
	if err != nil || !locked {
		return
	}
	defer func() { _ = l.Close() }()
	if now, err := s.read(); err == nil && now == p {
		_ = os.Remove(s.file)
	}
}

// publish writes the file, all of it or nothing. The caller holds the lock.
func (s shares) publish(service Service) error {
	started, err := startTime(os.Getpid())
	if err != nil {
		return fmt.Errorf("publish %s: %w", s.name, err)
	}
	data, err := json.Marshal(published{URL: service.URL, PID: os.Getpid(), Started: started, Version: service.Version})
	if err != nil {
		return fmt.Errorf("publish %s: %w", s.name, err)
	}
	f, err := os.CreateTemp(filepath.Dir(s.file), s.name+"-*") // 0600
	if err != nil {
		return fmt.Errorf("publish %s: %w", s.name, err)
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("publish %s: %w", s.name, err), os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), s.file); err != nil {
		return errors.Join(fmt.Errorf("publish %s: %w", s.name, err), os.Remove(f.Name()))
	}
	return nil
}

// withdraw removes the file if it is this process's own.
func (s shares) withdraw() error {
	p, err := s.read()
	if err == nil && p.PID == os.Getpid() && p.alive() {
		err = os.Remove(s.file)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("withdraw %s: %w", s.name, err)
	}
	return nil
}
