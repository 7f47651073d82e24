package contract_test

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/flashsale/harness/contract"
	"example.com/flashsale/harness/contract/contracttest"
)

// withoutDefect are the rules that no service of ours breaks alone: another one, which must pass first, sees it.
var withoutDefect = []string{"keys-twice"}

func check(t *testing.T, shop *contracttest.Shop, change func(*contract.Config)) contract.Report {
	t.Helper()
	server := httptest.NewServer(shop)
	defer server.Close()
	cfg := contract.Config{URL: server.URL + "/", Users: []int64{1, 2, 3}, Product: 1}
	if change != nil {
		change(&cfg)
	}
	report, err := contract.Check(t.Context(), cfg, contract.Rules)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != len(contract.Rules) {
		t.Fatalf("%d results of %d rules", len(report.Results), len(contract.Rules))
	}
	return report
}

// named returns the names of the rules with that outcome.
func named(report contract.Report, outcome contract.Outcome) []string {
	var names []string
	for _, r := range report.Results {
		if r.Outcome == outcome {
			names = append(names, r.Rule.Name)
		}
	}
	return names
}

func withStock(shop *contracttest.Shop) func(*contract.Config) {
	return func(cfg *contract.Config) { cfg.Stock = shop }
}

func TestGoodServicePasses(t *testing.T) {
	shop := contracttest.New("")
	report := check(t, shop, withStock(shop))
	if failed := named(report, contract.Fail); failed != nil {
		t.Errorf("failed: %v %+v", failed, report.Results)
	}
	if skipped := named(report, contract.Skipped); !slices.Equal(skipped, []string{"retry-after"}) {
		t.Errorf("skipped: %v, want retry-after alone, since no 503 came", skipped)
	}
}

// A service of which nothing but its address is known.
func TestHTTPAlone(t *testing.T) {
	report := check(t, contracttest.New(""), nil)
	if failed := named(report, contract.Fail); failed != nil {
		t.Errorf("failed: %v", failed)
	}
	want := []string{"sold-out", "replay-sold-out", "one-key-last-unit", "last-unit", "keys-twice", "flash-sale", "retry-after"}
	if skipped := named(report, contract.Skipped); !slices.Equal(skipped, want) {
		t.Errorf("skipped %v, want %v", skipped, want)
	}
	for _, r := range report.Results {
		if r.Outcome == contract.Skipped && r.Reason == "" {
			t.Errorf("%s is skipped without a reason", r.Rule.Name)
		}
	}
	if report.Units < 1 || report.Units > contract.UnitsBought {
		t.Errorf("%d units bought, want at most %d", report.Units, contract.UnitsBought)
	}
}

// A product that may be sold out, and one that is.
func TestSellOut(t *testing.T) {
	for _, stock := range []int64{1, 7, 1000} {
		shop := contracttest.New("")
		report := check(t, shop, func(cfg *contract.Config) {
			sellOut, _ := shop.Make(t.Context(), stock)
			soldOut, _ := shop.Make(t.Context(), 0)
			cfg.SellOut, cfg.SoldOut = sellOut.ID, soldOut.ID
		})
		if failed := named(report, contract.Fail); failed != nil {
			t.Errorf("stock %d: failed: %v", stock, failed)
		}
		for _, name := range []string{"sold-out", "flash-sale"} {
			if !slices.Contains(named(report, contract.Pass), name) {
				t.Errorf("stock %d: %s did not pass", stock, name)
			}
		}
	}
}

// Each service breaks one rule, and that one is found.
func TestEachDefectIsFound(t *testing.T) {
	for _, rule := range contract.Rules {
		if !slices.Contains(contracttest.Defects, rule.Name) && !slices.Contains(withoutDefect, rule.Name) {
			t.Errorf("no service breaks rule %s", rule.Name)
		}
	}
	for _, defect := range contracttest.Defects {
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			want := []string{defect}
			if defect == "last-unit" {
				want = []string{"last-unit", "flash-sale"}
			}
			shop := contracttest.New(defect)
			report := check(t, shop, func(cfg *contract.Config) {
				cfg.Stock = shop
				if defect != "body-far-too-large" {
					cfg.Skip = map[string]string{"body-far-too-large": "takes long"}
				}
			})
			if failed := named(report, contract.Fail); !slices.Equal(failed, want) {
				t.Errorf("failed: %v, want %v", failed, want)
			}
			for _, r := range report.Results {
				if r.Outcome != contract.Fail {
					continue
				}
				for _, f := range r.Findings {
					if f.Request == "" || f.Want == "" || f.Got == "" || len(f.String()) > 2000 {
						t.Errorf("%s: finding %+v says too little or too much", r.Rule.Name, f)
					}
				}
			}
		})
	}
}

// What HTTP alone can see of a defect is found without a database too.
func TestDefectsOverHTTP(t *testing.T) {
	for _, defect := range []string{"order", "stock", "replay", "takes-nothing", "one-key", "problem", "metrics"} {
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			if failed := named(check(t, contracttest.New(defect), nil), contract.Fail); !slices.Equal(failed, []string{defect}) {
				t.Errorf("failed: %v", failed)
			}
		})
	}
}

func TestSkip(t *testing.T) {
	report := check(t, contracttest.New("metrics"), func(cfg *contract.Config) { cfg.Skip = map[string]string{"metrics": "we have none"} })
	for _, r := range report.Results {
		if r.Rule.Name == "metrics" && (r.Outcome != contract.Skipped || r.Reason != "we have none") {
			t.Errorf("metrics: %s, %q", r.Outcome, r.Reason)
		}
	}
}

func TestNothingToCheck(t *testing.T) {
	good := httptest.NewServer(contracttest.New(""))
	defer good.Close()
	gone := httptest.NewServer(contracttest.New(""))
	gone.Close()
	poor := contracttest.New("")
	few, _ := poor.Make(t.Context(), 3)
	poorServer := httptest.NewServer(poor)
	defer poorServer.Close()
	ended, end := context.WithCancel(t.Context())
	end()
	for _, test := range []struct {
		name string
		ctx  context.Context
		cfg  contract.Config
		want string
	}{
		{"no users", t.Context(), contract.Config{URL: good.URL, Product: 1}, "users"},
		{"no product", t.Context(), contract.Config{URL: good.URL, Users: []int64{1}}, "product"},
		{"unknown rule", t.Context(), contract.Config{URL: good.URL, Users: []int64{1}, Product: 1, Skip: map[string]string{"nosuch": "x"}}, "nosuch"},
		{"nobody there", t.Context(), contract.Config{URL: gone.URL, Users: []int64{1}, Product: 1}, "does not answer"},
		{"too little", t.Context(), contract.Config{URL: poorServer.URL, Users: []int64{1}, Product: few.ID}, "3 units left"},
		{"another database", t.Context(), contract.Config{URL: good.URL, Users: []int64{1}, Stock: poor}, "another database"},
		{"over", ended, contract.Config{URL: good.URL, Users: []int64{1}, Product: 1}, "canceled"},
	} {
		_, err := contract.Check(test.ctx, test.cfg, contract.Rules)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
}

func TestIn(t *testing.T) {
	rules := contract.In(contract.Races, contract.Service)
	if len(rules) == 0 || len(rules) >= len(contract.Rules) {
		t.Fatalf("%d rules", len(rules))
	}
	for _, r := range rules {
		if r.Group != contract.Races && r.Group != contract.Service {
			t.Errorf("rule %s is of group %s", r.Name, r.Group)
		}
	}
}

// Names are in reports and on command lines: each is there once, and each rule says what it is about.
func TestRulesAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range contract.Rules {
		if seen[r.Name] || r.Name == "" || r.Promise == "" || strings.HasSuffix(r.Promise, ".") || r.Group == "" {
			t.Errorf("rule %+v", r.Name)
		}
		seen[r.Name] = true
	}
}
