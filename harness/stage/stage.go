// Package stage builds, starts, measures and stops the stages of the service as real processes. The load generator and
// the conformance suite use it; no stage links it.
//
//	binary, err := stage.Build(ctx, "stage3-threads", stage.BuildOptions{})
//	process, err := stage.Start(ctx, stage.Spec{Name: "stage3-threads", Binary: binary, DatabaseURL: url})
//	meter := process.Measure(500 * time.Millisecond)
//	… drive process.URL …
//	usage := meter.Stop()
//	err = process.Stop(ctx)
//
// A started stage belongs to the process that started it and ends with it, however that one ends; see [Start].
package stage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names lists the five stages in their teaching order. A stage's name is its folder's name. Nobody may change it.
var Names = []string{"stage1-single", "stage2-multiproc", "stage3-threads", "stage4-async", "stage5-hybrid"}

// Resolve returns the full name of a stage for "3", "stage3", "threads" or "stage3-threads". The error for anything else
// lists the names.
func Resolve(short string) (string, error) {
	for _, name := range Names {
		number, word, _ := strings.Cut(name, "-")
		if slices.Contains([]string{name, number, word, strings.TrimPrefix(number, "stage")}, short) {
			return name, nil
		}
	}
	return "", fmt.Errorf("unknown stage %q: use 1 to %d or one of %s", short, len(Names), strings.Join(Names, ", "))
}

// Root returns the absolute path of the folder that holds go.work, looking from the working directory upward. The error
// says that the command has to run inside a clone of the project.
func Root() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the project: %w", err)
	}
	for folder := start; ; folder = filepath.Dir(folder) {
		_, err := os.Stat(filepath.Join(folder, "go.work"))
		if err == nil {
			return folder, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("find the project: %w", err)
		}
		if folder == filepath.Dir(folder) {
			return "", fmt.Errorf("no go.work in %s or above it: run this inside a clone of the project", start)
		}
	}
}
