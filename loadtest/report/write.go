package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// Files are the names of what Write writes, the one for scripts first.
var Files = []string{"result.json", "report.md", "report.html"}

// Outputs are the forms that WriteOutputs knows. The first three are those of Write.
var Outputs = []string{"json", "md", "html", "csv", "hlog", "junit"}

// forms are the outputs that are one file.
var forms = map[string]struct {
	file  string
	write func(io.Writer, *Result) error
}{
	"json":  {Files[0], JSON},
	"md":    {Files[1], Markdown},
	"html":  {Files[2], HTML},
	"csv":   {"series.csv", CSV},
	"junit": {"junit.xml", JUnit},
}

// Write writes result.json, report.md and report.html into dir, which it makes if it is not there. A file is replaced
// as a whole or not at all.
func Write(dir string, r *Result) error {
	_, err := WriteOutputs(dir, r, Outputs[:len(Files)])
	return err
}

// WriteOutputs is like Write, for these outputs. It returns the names of the files; the error names the one that could not
// be written, or the output that there is not.
func WriteOutputs(dir string, r *Result, outputs []string) (files []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("output folder: %w", err)
	}
	write := func(file string, form func(io.Writer, *Result) error) error {
		if err := replace(filepath.Join(dir, file), func(w io.Writer) error { return form(w, r) }); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
		files = append(files, file)
		return nil
	}
	for _, output := range outputs {
		form, known := forms[output]
		switch {
		case output == "hlog":
			for i := range r.Runs {
				err = errors.Join(err, write(histogramFile(r, i), histogramLog(i)))
			}
		case known:
			err = write(form.file, form.write)
		default:
			err = fmt.Errorf("there is no output %q: use %s", output, list(Outputs, "or"))
		}
		if err != nil {
			return files, err
		}
	}
	return files, nil
}

// JSON writes r to w as result.json. A point of a series stands in one line: there may be thousands.
func JSON(w io.Writer, r *Result) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return err
	}
	_, err := w.Write(flatPoints.ReplaceAllFunc(b.Bytes(), func(point []byte) []byte {
		return lineBreaks.ReplaceAll(point, []byte(" "))
	}))
	return err
}

// flatPoints finds the points of series and percentiles, which hold numbers alone; a line break inside of a string would
// be escaped, so that nothing else looks like one.
var (
	flatPoints = regexp.MustCompile(`\{\n +"(?:t_seconds|percentile)": [^{}]*\}`)
	lineBreaks = regexp.MustCompile(`\n *`)
)

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
