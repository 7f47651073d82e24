package report

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// Whoever reads result.json finds each of its keys explained.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/reading-results.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := jsonKeys(reflect.TypeFor[Result]())
	if !slices.Contains(keys, "void_reason") || !slices.Contains(keys, "cpu_us_per_order") || slices.Contains(keys, "-") {
		t.Fatalf("the keys of a result are not found: %v", keys)
	}
	if missing := undocumented(string(text), keys); len(missing) > 0 {
		t.Errorf("docs/reading-results.md does not name %s", strings.Join(missing, ", "))
	}
	if missing := undocumented(string(text), []string{"seed", "no_such_key"}); !slices.Equal(missing, []string{"no_such_key"}) {
		t.Errorf("missing: %v", missing)
	}
}

// undocumented returns the keys that are not named, as code, in a text.
func undocumented(text string, keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return strings.Contains(text, "`"+key+"`") })
}

// jsonKeys returns all JSON keys of a type and of what it holds, sorted.
func jsonKeys(of reflect.Type) []string {
	found := map[string]bool{}
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			visit(of.Elem())
		case reflect.Struct:
			if seen[of] || of == reflect.TypeFor[time.Time]() {
				return
			}
			seen[of] = true
			for field := range fieldsOf(of) {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				if name == "-" || !field.IsExported() {
					continue
				}
				if name != "" {
					found[name] = true
				} else if !field.Anonymous {
					found[field.Name] = true
				}
				visit(field.Type)
			}
		}
	}
	visit(of)
	var keys []string
	for key := range found {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func fieldsOf(of reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range of.NumField() {
			if !yield(of.Field(i)) {
				return
			}
		}
	}
}
