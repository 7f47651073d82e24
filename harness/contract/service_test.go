package contract

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// openapi.yaml is the truth: the members of /health that are asked for are those that it requires.
func TestHealthMembersAreThoseOfTheDescription(t *testing.T) {
	text, err := os.ReadFile("../../shop/httpapi/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, health, found := strings.Cut(string(text), "\n    Health:\n")
	_, list, listed := strings.Cut(health, "required: [")
	list, _, closed := strings.Cut(list, "]")
	if !found || !listed || !closed {
		t.Fatal("openapi.yaml has no schema Health with a list of what is required")
	}
	want := strings.Split(strings.ReplaceAll(list, " ", ""), ",")
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(healthMembers)); !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
}
