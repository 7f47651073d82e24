package attack

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/flashsale/loadtest/schedule"
)

// halves runs two generators of a flash sale one after the other and returns their results.
func halves(t *testing.T, service *shop) (*Result, *Result) {
	t.Helper()
	cfg := Config{Target: serve(t, service), Workload: FlashSale, Users: 4, ProductIDs: []int64{7}, Duration: 20 * time.Second, ClientTimeout: 3 * time.Second}
	first, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.FirstUserID = 5
	second, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return first, second
}

func TestSavedResultsAreTheSame(t *testing.T) {
	t.Parallel()
	first, _ := halves(t, &shop{stock: map[int64]int{7: 50}, orders: map[string]int64{}})
	var file bytes.Buffer
	if err := first.Save(&file); err != nil {
		t.Fatal(err)
	}
	text := file.String()
	loaded, err := Load(&file)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(slices.Collect(first.Outcomes()), slices.Collect(loaded.Outcomes())) {
		t.Error("the outcomes differ")
	}
	if first.Patience != 3*time.Second || loaded.Patience != first.Patience {
		t.Errorf("patience %v, loaded %v", first.Patience, loaded.Patience)
	}
	if !reflect.DeepEqual(first.Counts, loaded.Counts) || first.Elapsed != loaded.Elapsed || first.OrdersPerSecond != loaded.OrdersPerSecond ||
		!first.Start.Equal(loaded.Start) || !reflect.DeepEqual(Summarize(first.All), Summarize(loaded.All)) {
		t.Errorf("saved %+v, loaded %+v", first.Counts, loaded.Counts)
	}
	for _, part := range []string{"", text[:40], text[:len(text)/2], "nonsense"} {
		if _, err := Load(strings.NewReader(part)); err == nil {
			t.Errorf("%d bytes of %d are taken", len(part), len(text))
		}
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	service := &shop{stock: map[int64]int{7: 50}, orders: map[string]int64{}}
	first, second := halves(t, service)
	start, apart := first.Start, second.Start.Sub(first.Start)
	end := apart + second.Elapsed
	want := first.Counts.Requests + second.Counts.Requests
	all, err := Merge(second, first)
	if err != nil {
		t.Fatal(err)
	}
	if all.Counts.Requests != want || all.Counts.Accepted != 50 || all.Counts.RejectedByCode[CodeOutOfStock] != want-50 || all.Len() != int(want) {
		t.Errorf("%+v, want %d requests", all.Counts, want)
	}
	if !all.Start.Equal(start) || (all.Elapsed-end).Abs() > time.Microsecond {
		t.Errorf("from %v for %v; want %v, %v", all.Start, all.Elapsed, start, end)
	}
	if mine := residentMemory(); all.MemoryBytes < mine || all.MemoryBytes > 3*mine { // the parts' together
		t.Errorf("%d bytes in two generators, and this process has %d", all.MemoryBytes, mine)
	}
	if all.Patience != 3*time.Second {
		t.Errorf("patience %v", all.Patience)
	}
	if all.All.TotalCount() != want {
		t.Errorf("%d latencies", all.All.TotalCount())
	}
}

func TestMergeOfTheOpenModel(t *testing.T) {
	part := func(rate float64) *Result {
		return &Result{codes: &codeTable{}, recipe: recipe{Workload: Sustained, Duration: time.Second, Products: []int64{7},
			Plan: &schedule.Plan{Rate: rate, Peak: 2 * rate, Profile: schedule.Ramp, Duration: time.Second}, CPUShare: 0.1}}
	}
	first, second := part(10), part(30)
	all, err := Merge(first, second)
	if err != nil {
		t.Fatal(err)
	}
	if all.Patience != DefaultClientTimeout { // as in a file from before it was kept
		t.Errorf("patience %v", all.Patience)
	}
	if plan := all.Open.Plan; plan.Rate != 40 || plan.Peak != 80 || all.Open.CPUShare != 0.2 || first.recipe.Plan.Rate != 10 {
		t.Errorf("%+v", all.Open)
	}
}

func TestMergeRefusesWhatDoesNotBelongTogether(t *testing.T) {
	base := recipe{Workload: FlashSale, Duration: time.Second, Products: []int64{7}}
	longer, other, open, patient := base, base, base, base
	patient.Patience = DefaultClientTimeout + 1
	longer.Duration++
	other.Products = []int64{8}
	open.Plan = &schedule.Plan{}
	for _, how := range []recipe{longer, other, open, patient} {
		parts := []*Result{{recipe: base, codes: &codeTable{}}, {recipe: how, codes: &codeTable{}}}
		if _, err := Merge(parts...); err == nil || !strings.Contains(err.Error(), "merge result 2") {
			t.Errorf("%+v: %v", how, err)
		}
	}
	if _, err := Merge(); err == nil {
		t.Error("nothing was merged")
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestSaveFails(t *testing.T) {
	r := &Result{codes: &codeTable{}}
	if err := r.Save(fullDisk{}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("got %v", err)
	}
}
