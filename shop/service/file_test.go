package service

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func configFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "stage.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestConfigFile: every setting can be in the file, and environment and flag win over it, in that order.
func TestConfigFile(t *testing.T) {
	for _, s := range settings {
		t.Run(s.flag, func(t *testing.T) {
			file := configFile(t, s.flag+": "+s.value+"\n")
			for how, tt := range map[string]struct {
				env, args []string
				want      string
			}{
				"file by flag":         {nil, []string{"--config", file}, s.value},
				"file by variable":     {[]string{"CONFIG_FILE=" + file}, nil, s.value},
				"the environment wins": {[]string{s.env + "=" + s.other}, []string{"--config", file}, s.other},
				"the flag wins":        {nil, []string{"--config", file, "--" + s.flag, s.other}, s.other},
			} {
				args := tt.args
				if s.flag != "database-url" {
					args = append([]string{db}, args...)
				}
				cfg, err := parse(t, tt.env, args)
				if got := fmt.Sprint(s.get(cfg)); err != nil || got != tt.want {
					t.Errorf("%s: %q, %v, want %q", how, got, err, tt.want)
				}
			}
		})
	}
}

func TestConfigFileForms(t *testing.T) {
	for name, content := range map[string]string{
		"YAML":   "# comment\nqueue-cap: 5\nuser-latency: 3ms\nlog-format: 'json'\n",
		"JSON":   `{"queue-cap": 5, "user-latency": "3ms", "log-format": "json"}`,
		"quoted": "\"queue-cap\": \"5\"\nuser-latency: \"3ms\"\nlog-format: json",
	} {
		cfg, err := parse(t, nil, []string{db, "--config=" + configFile(t, content)})
		if err != nil || cfg.QueueCap != 5 || cfg.UserLatency != 3*time.Millisecond || cfg.LogFormat != "json" {
			t.Errorf("%s: %+v, %v", name, cfg, err)
		}
	}
	for name, content := range map[string]string{"empty": "", "a comment": "# nothing yet\n", "no names": "{}"} {
		if cfg, err := parse(t, nil, []string{db, "--config=" + configFile(t, content)}); err != nil || cfg.QueueCap != spec.QueueCap {
			t.Errorf("%s: %+v, %v", name, cfg, err)
		}
	}
}

func TestConfigFileRefused(t *testing.T) {
	for want, content := range map[string]string{
		`there is no setting "que-cap"; the names are those of the flags: addr,`: "que-cap: 5\n",
		`there is no setting "DB_CONNS"`:                                         "DB_CONNS: 5\n",
		`there is no setting "config"`:                                           "config: other.yaml\n",
		`there is no setting "check"`:                                            "check: true\n",
		"line 2: queue-cap needs one value":                                      "guard: none\nqueue-cap:\n",
		"line 1: addr needs one value":                                           "addr: [a, b]\n",
		"it is no YAML with a value for each name":                               "queue-cap 5\n",
		"already defined":                                                        "queue-cap: 5\nqueue-cap: 6\n",
		"--queue-cap":                                                            "queue-cap: many\n",
		"--db-conns is out of range":                                             "db-conns: 0\n",
		"guard noop sells nothing":                                               "guard: noop\n",
	} {
		_, err := parse(t, nil, []string{db, "--config=" + configFile(t, content)})
		wantConfigError(t, err, want)
	}
	name := filepath.Join(t.TempDir(), "nowhere.yaml")
	_, err := parse(t, nil, []string{db, "--config=" + name})
	wantConfigError(t, err, "cannot read the configuration: open "+name)
	name = configFile(t, "queue-cap: many\n")
	_, err = parse(t, nil, []string{db, "--config=" + name})
	if err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("err = %v, want the name of the file", err)
	}
}
