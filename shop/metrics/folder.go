package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"
)

// Folder is where the workers of one master meet. The empty Folder is none: then each worker is alone.
type Folder string

// What is in a folder.
const (
	retiredFile   = "retired" // the sums of all workers that have ended
	lockFile      = "lock"    // shared by who reads sums, exclusive for who moves figures from one file to another
	socketSuffix  = ".sock"   // where a worker answers
	lastSuffix    = ".last"   // what a worker has last shown of its sums
	partialSuffix = ".part"   // a file that is being written
)

// sharedMemory is a file system in memory, on Linux: files that are written for each scrape should not wait for a disk.
const sharedMemory = "/dev/shm"

// NewFolder makes a folder that only this user can look into: in the service's own folder where systemd gives it one
// (RUNTIME_DIRECTORY), else in memory where that is possible, else in the temporary folder. Of /dev/shm logind deletes what a
// user leaves there when the last session ends (RemoveIPC), so a service of systemd had better have the first. The caller
// removes the folder in the end.
func NewFolder() (Folder, error) {
	own, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":") // the first of several
	var failed error
	for _, parent := range []string{own, sharedMemory, os.TempDir()} {
		if parent == "" {
			continue
		}
		folder, err := newFolderIn(parent)
		if err == nil {
			return folder, nil
		}
		failed = errors.Join(failed, err)
	}
	return "", fmt.Errorf("metrics: %w", failed)
}

// newFolderIn makes a folder that has room for a file.
func newFolderIn(parent string) (Folder, error) {
	dir, err := os.MkdirTemp(parent, "flashsale-")
	if err != nil {
		return "", err
	}
	folder := Folder(dir)
	if err := folder.write(retiredFile, make([]byte, probeSize)); err != nil {
		folder.Remove()
		return "", err
	}
	return folder, os.Remove(folder.path(retiredFile))
}

// probeSize is about what the figures of one worker need.
const probeSize = 16 << 10

// Remove removes the folder and all that is in it. It may be called concurrently and again.
func (f Folder) Remove() {
	if f != "" {
		_ = os.RemoveAll(string(f))
	}
}

// Retire adds what workers that are not alive have last shown to the sums of those that have ended. The master calls it
// whenever its workers change. It never waits: while somebody reads, the next call does it.
func (f Folder) Retire(alive []int) {
	if f == "" {
		return
	}
	gone := slices.DeleteFunc(f.seen(), func(pid int) bool { return slices.Contains(alive, pid) })
	if len(gone) == 0 {
		return
	}
	unlock, err := f.lock(unix.LOCK_EX | unix.LOCK_NB)
	if err != nil {
		return
	}
	defer unlock()
	sum := newTotal()
	sum.add(f.read(retiredFile), keepAll)
	for _, pid := range gone {
		sum.add(f.read(strconv.Itoa(pid)+lastSuffix), keepAll)
	}
	var text bytes.Buffer
	if encode(&text, sum.families()) != nil || f.write(retiredFile, text.Bytes()) != nil {
		return // nothing is lost: the figures of the gone are still there
	}
	for _, pid := range gone {
		for _, suffix := range []string{lastSuffix, socketSuffix, lastSuffix + partialSuffix} {
			_ = os.Remove(f.path(strconv.Itoa(pid) + suffix))
		}
	}
}

// seen returns the workers that have shown something.
func (f Folder) seen() []int {
	var pids []int
	entries, _ := os.ReadDir(string(f))
	for _, entry := range entries {
		name, isLast := strings.CutSuffix(entry.Name(), lastSuffix)
		if pid, err := strconv.Atoi(name); isLast && err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// lock takes the folder's lock. The kernel frees it when its holder dies.
func (f Folder) lock(how int) (unlock func(), err error) {
	file, err := os.OpenFile(f.path(lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(file.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return func() { _ = file.Close() }, nil
}

// read returns the families of a file; a file that is not there has none.
func (f Folder) read(name string) []*dto.MetricFamily {
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	families, _ := decode(file) // written as a whole or not at all
	return families
}

// write replaces a file as a whole.
func (f Folder) write(name string, content []byte) error {
	partial := f.path(name + partialSuffix)
	if err := os.WriteFile(partial, content, 0o600); err != nil {
		return err
	}
	return os.Rename(partial, f.path(name))
}

func (f Folder) path(name string) string { return filepath.Join(string(f), name) }
