package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Files are the names of what Write writes, the one for scripts first.
var Files = []string{"result.json", "report.md", "report.html"}

// Write writes result.json, report.md and report.html into dir, which it makes if it is not there. A file is replaced
// as a whole or not at all.
func Write(dir string, r *Result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("output folder: %w", err)
	}
	for i, form := range []func(io.Writer, *Result) error{JSON, Markdown, HTML} {
		if err := replace(filepath.Join(dir, Files[i]), func(w io.Writer) error { return form(w, r) }); err != nil {
			return fmt.Errorf("write %s: %w", Files[i], err)
		}
	}
	return nil
}

// JSON writes r to w as result.json.
func JSON(w io.Writer, r *Result) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Read reads a result.json. It refuses another schema than this package's.
func Read(path string) (*Result, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Result
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s is no result.json: %w", path, err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("%s has schema %d; this program reads schema %d", path, r.Schema, Schema)
	}
	return &r, nil
}

// replace writes a temporary file beside path and renames it.
func replace(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	if err := write(f); err != nil {
		f.Close() //nolint:errcheck // the first error counts
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close() //nolint:errcheck // the first error counts
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
