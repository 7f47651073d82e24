package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"example.com/flashsale/harness/stage"
)

// guardNoOp is the guard that makes its receipts up: there is nothing to audit.
const guardNoOp = "noop"

// lookTimeout bounds one question to a target beside the load.
const lookTimeout = 5 * time.Second

// client asks a target who it is. It keeps no connection: the stages count those.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: lookTimeout}

// Target is a service to be measured.
type Target struct {
	URL    string
	Health *stage.Health // nil for a service that is none of our stages
}

// Inspect asks the service at baseURL who it is. A service that answers, but not as a stage does, is a foreign target:
// that is no error. What it says of itself is fit to be shown: printable, and no longer than a name. It blocks for at most
// five seconds.
func Inspect(ctx context.Context, baseURL string) (Target, error) {
	baseURL = strings.TrimRight(baseURL, "/")
	health, err := stage.GetHealth(ctx, baseURL)
	if err == nil {
		clean(&health)
		return Target{URL: baseURL, Health: &health}, nil
	}
	var noAnswer *url.Error
	if errors.As(err, &noAnswer) {
		return Target{}, fmt.Errorf("the target %s does not answer: %w; start it, or correct --target", baseURL, noAnswer.Err)
	}
	return Target{URL: baseURL}, nil
}

// maxName is the length of the longest name that is taken from a target, in characters.
const maxName = 64

// clean makes all text of a target's health fit for a terminal: it is another program's, and may be anything.
func clean(h *stage.Health) {
	for _, text := range []*string{&h.Status, &h.Stage, &h.Version, &h.MasterVersion, &h.Guard, &h.Expected, &h.GoVersion} {
		*text = cleaned(*text)
	}
	for i := range h.WorkerProcesses {
		h.WorkerProcesses[i].State = cleaned(h.WorkerProcesses[i].State)
	}
}

// cleaned returns a name with control characters replaced, and without what is too long.
func cleaned(name string) string {
	var b strings.Builder
	n := 0
	for _, r := range name {
		if n++; n > maxName {
			b.WriteRune('…')
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Stage returns the stage's name, or "" for a foreign target.
func (t Target) Stage() string {
	if t.Health == nil {
		return ""
	}
	return t.Health.Stage
}

// Auditable says whether the target keeps orders at all.
func (t Target) Auditable() bool { return t.Health == nil || t.Health.Guard != guardNoOp }

// checkProduct asks the target for a product that was just made in the database. A target that does not know it uses
// another database, and every figure would be void. A foreign target need not have this route.
func (t Target) checkProduct(ctx context.Context, id int64) error {
	if t.Health == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/products/%d", t.URL, id), nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the target for product %d: %w", id, err)
	}
	defer func() { _ = response.Body.Close() }()
	var problem struct {
		Code string `json:"code"`
	}
	if response.StatusCode == http.StatusNotFound && json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&problem) == nil &&
		problem.Code == "product_not_found" {
		return fmt.Errorf("the target does not know product %d, which was just made: the target uses another database; correct --database-url", id)
	}
	return nil
}
