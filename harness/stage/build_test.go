package stage

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// project makes a workspace with one stage that prints a word, and goes there.
func project(t *testing.T, word string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.work":               "go 1.26\n\nuse ./stage1-single\n",
		"stage1-single/go.mod":  "module example.com/" + word + "\n\ngo 1.26\n",
		"stage1-single/main.go": "package main\n\nfunc main() { print(\"" + word + "\") }\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
	return root
}

func TestBuild(t *testing.T) {
	root := project(t, "one")
	opt := BuildOptions{Dir: t.TempDir()}
	binary := mustBuild(t, opt)
	if output := run(t, binary); output != "one" {
		t.Errorf("the binary prints %q", output)
	}
	if filepath.Dir(binary) != opt.Dir {
		t.Errorf("built %s, want it in %s", binary, opt.Dir)
	}
	source := filepath.Join(root, "stage1-single", "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { print(\"two\") }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again := mustBuild(t, opt); run(t, again) != "one" {
		t.Error("built twice in one process")
	}
	for range 2 { // the second finds nothing to do
		forgetBuilds()
		if again := mustBuild(t, opt); again != binary || run(t, again) != "two" {
			t.Errorf("%s prints %q after the change", again, run(t, again))
		}
	}
	if entries, err := os.ReadDir(opt.Dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v: want the binary alone", entries, err)
	}
}

func TestBuildFailsWithTheCompilersWords(t *testing.T) {
	root := project(t, "broken")
	if err := os.WriteFile(filepath.Join(root, "stage1-single", "main.go"), []byte("package main\n\nfunc main() { undefinedName() }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Build(t.Context(), "1", BuildOptions{Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "undefinedName") {
		t.Errorf("error %v, want what the compiler said", err)
	}
	if _, err := Build(t.Context(), "6", BuildOptions{}); err == nil {
		t.Error("built a stage that does not exist")
	}
}

func TestBinaryFolderDependsOnTheClone(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	one, err := binaryFolder("/clone/one", "")
	if err != nil {
		t.Fatal(err)
	}
	two, err := binaryFolder("/clone/two", "")
	if err != nil || one == two {
		t.Errorf("%s and %s, %v: want two folders", one, two, err)
	}
}

func TestRaceUnavailable(t *testing.T) {
	t.Setenv("CGO_ENABLED", "0")
	if err := RaceUnavailable(t.Context()); err == nil || !strings.Contains(err.Error(), "no race detector: ") {
		t.Errorf("without cgo: %v, want a reason", err)
	}
	t.Setenv("CGO_ENABLED", "1")
	t.Setenv("CC", "/nowhere/cc")
	if err := RaceUnavailable(t.Context()); err == nil || !strings.Contains(err.Error(), "/nowhere/cc") {
		t.Errorf("without a compiler: %v, want its name", err)
	}
}

func mustBuild(t *testing.T, opt BuildOptions) string {
	t.Helper()
	binary, err := Build(t.Context(), "1", opt)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func forgetBuilds() {
	builds.Lock()
	defer builds.Unlock()
	builds.binaries = nil
}

func run(t *testing.T, binary string) string {
	t.Helper()
	output, err := exec.Command(binary).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(output)
}
