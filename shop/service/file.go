package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// configFlag is the flag that names the configuration file.
const configFlag = "config"

// file is the configuration file, as a source of flags for kong. It counts for
// flags that neither the command line nor the environment sets.
type file struct {
	name   string // "" where there is none, or none has been read yet
	values map[string]string
}

// Validate implements kong.Resolver. What the file says is not known yet.
func (f *file) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (f *file) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	value, ok := f.values[flag.Name]
	if !ok || slices.ContainsFunc(flag.Envs, isSet) {
		return nil, nil //nolint:nilnil // kong's word for: not here
	}
	return value, nil
}

func isSet(variable string) bool {
	_, ok := os.LookupEnv(variable)
	return ok
}

// load reads the file that the command line or the environment names, once.
func (f *file) load(ctx *kong.Context) error {
	if f.values != nil {
		return nil
	}
	f.values = map[string]string{}
	names := map[string]bool{}
	for _, flag := range ctx.Model.Flags {
		names[flag.Name] = flag.Name != "help" && flag.Name != "check" && flag.Name != configFlag
		if flag.Name == configFlag {
			f.name, _ = ctx.FlagValue(flag).(string)
		}
	}
	if f.name == "" {
		return nil
	}
	content, err := os.ReadFile(f.name)
	if err != nil {
		return fmt.Errorf("cannot read the configuration: %w", err)
	}
	if f.values, err = parseFile(content, names); err != nil {
		return fmt.Errorf("configuration %s: %w", f.name, err)
	}
	return nil
}

// parseFile reads YAML, of which JSON is a part: one value for each name.
func parseFile(content []byte, names map[string]bool) (map[string]string, error) {
	nodes := map[string]yaml.Node{}
	if err := yaml.NewDecoder(bytes.NewReader(content)).Decode(&nodes); err != nil && !errors.Is(err, io.EOF) { // EOF: empty
		return nil, fmt.Errorf("it is no YAML with a value for each name: %w", err)
	}
	values := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(nodes)) {
		node := nodes[key]
		switch {
		case !names[key]:
			return nil, fmt.Errorf("there is no setting %q; the names are those of the flags: %s", key, settingNames(names))
		case node.Kind != yaml.ScalarNode || node.Tag == "!!null":
			return nil, fmt.Errorf("line %d: %s needs one value", node.Line, key)
		}
		values[key] = node.Value
	}
	return values, nil
}

func settingNames(names map[string]bool) string {
	var list []string
	for name, ok := range names {
		if ok {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
