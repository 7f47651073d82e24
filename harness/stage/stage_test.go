package stage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	for short, want := range map[string]string{
		"1": "stage1-single", "stage2": "stage2-multiproc", "threads": "stage3-threads", "stage4-async": "stage4-async", "5": "stage5-hybrid",
	} {
		if got, err := Resolve(short); got != want || err != nil {
			t.Errorf("Resolve(%q) = %q, %v, want %q", short, got, err, want)
		}
	}
	for _, short := range []string{"", "6", "stage", "stage1-", "Stage1", "../stage1-single"} {
		got, err := Resolve(short)
		if err == nil {
			t.Errorf("Resolve(%q) = %q, want an error", short, got)
			continue
		}
		for _, name := range Names {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("Resolve(%q): %q does not list %s", short, err, name)
			}
		}
	}
}

func TestRoot(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "harness", "go.mod")); err != nil {
		t.Errorf("Root() = %s, which is not the project: %v", root, err)
	}
	t.Chdir(t.TempDir())
	if root, err := Root(); err == nil {
		t.Errorf("Root() = %s outside the project, want an error", root)
	}
}
