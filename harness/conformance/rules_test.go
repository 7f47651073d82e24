package conformance

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/flashsale/harness/stage"
)

// The rules of the repository that a compiler cannot check.

// lineLimits are the files that each stage has; 0 means as long as it likes.
var lineLimits = map[string]int{"main.go": 100, "model.go": 200, "model_test.go": 0, "README.md": 0}

// TestStagesHaveTheSameFiles keeps `diff -r stage1-single stage3-threads` worth reading.
func TestStagesHaveTheSameFiles(t *testing.T) {
	for _, name := range stage.Names {
		folder := filepath.Join(root(t), name)
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if _, known := lineLimits[entry.Name()]; !known && entry.Name() != "go.mod" && entry.Name() != "go.sum" {
				t.Errorf("%s/%s: the other stages have no such file", name, entry.Name())
			}
		}
		for file, limit := range lineLimits {
			text, err := os.ReadFile(filepath.Join(folder, file))
			if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s has no %s", name, file)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if lines := bytes.Count(text, []byte("\n")); limit > 0 && lines > limit {
				t.Errorf("%s/%s has %d lines, want at most %d", name, file, lines, limit)
			}
		}
	}
}

// TestDependencies keeps the programs apart that must not share code.
func TestDependencies(t *testing.T) {
	type rule struct{ folder, forbidden, reason string }
	rules := []rule{
		{"loadtest", "example.com/flashsale/shop", "one bug must not blind service and auditor"},
		{"harness/conformance", "example.com/flashsale/shop", "the suite is a black box"},
	}
	for _, name := range stage.Names {
		rules = append(rules, rule{name, "example.com/flashsale/harness", "what tests a stage must not be part of it"})
	}
	for _, rule := range rules {
		for _, dependency := range dependencies(t, filepath.Join(root(t), rule.folder)) {
			if dependency == rule.forbidden || strings.HasPrefix(dependency, rule.forbidden+"/") {
				t.Errorf("%s links %s: %s", rule.folder, dependency, rule.reason)
			}
		}
	}
}

// dependencies lists the packages that the program in the folder is made of, without its tests.
func dependencies(t *testing.T, folder string) []string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	list.Dir = folder
	var problem strings.Builder
	list.Stderr = &problem
	output, err := list.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v\n%s", folder, err, problem.String())
	}
	found := strings.Fields(string(output))
	if !slices.ContainsFunc(found, func(name string) bool { return strings.HasPrefix(name, "example.com/flashsale/") }) {
		t.Fatalf("go list in %s does not even list the program: %v", folder, found)
	}
	return found
}

func root(t *testing.T) string {
	t.Helper()
	folder, err := stage.Root()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}
