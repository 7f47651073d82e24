package runner

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/flashsale/harness/stage"
)

// TestCheckFiles: a stage that may not open so many files is named as the cause before anything is measured.
func TestCheckFiles(t *testing.T) {
	t.Parallel()
	const gauge = "# TYPE process_max_fds gauge\n# TYPE process_open_fds gauge\n"
	one := "process_max_fds 1024\nprocess_open_fds 24\n"
	two := "process_max_fds{worker=\"0\"} 1024\nprocess_max_fds{worker=\"1\"} 1024\nprocess_open_fds{worker=\"0\"} 24\nprocess_open_fds{worker=\"1\"} 24\n"
	grouped := func(text string) string { // as the format wants it: a family in one piece
		var most, open string
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "process_max") {
				most += line
			} else {
				open += line
			}
		}
		types := strings.SplitAfter(gauge, "\n")
		return types[0] + most + types[1] + open
	}
	for _, test := range []struct {
		metrics string
		users   int
		want    string
	}{
		{grouped(one), 1000, ""},
		{grouped(one), 1001, "the stage may open at most 1024 files, and each of 1001 users"},
		{grouped(two), 2000, ""},
		{grouped(two), 20_000, "the stage may open at most 2048 files, in its 2 processes together"},
		{"", 20_000, ""},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, test.metrics) }))
		err := Target{URL: server.URL, Health: &stage.Health{}}.checkFiles(t.Context(), test.users)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "ulimit -n")) {
			t.Errorf("%d users: %v, want %q", test.users, err, test.want)
		}
		if err := (Target{URL: server.URL}).checkFiles(t.Context(), test.users); err != nil {
			t.Errorf("a target that is no stage: %v", err)
		}
		server.Close()
	}
}
