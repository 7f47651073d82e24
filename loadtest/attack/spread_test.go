package attack

import (
	"testing"
	"time"
)

func TestSpreadBuckets(t *testing.T) {
	last := -1
	for us := range int64(1 << 20) {
		response := time.Duration(us) * time.Microsecond
		i := bucket(response)
		if i < last || i > last+1 {
			t.Fatalf("%v is in bucket %d, after bucket %d", response, i, last)
		}
		last = i
		if off := (bucketMiddle(i) - response).Abs(); float64(off) > 0.033*float64(response) {
			t.Fatalf("%v counts as %v", response, bucketMiddle(i))
		}
	}
	for _, response := range []time.Duration{-time.Second, 134 * time.Second, time.Hour} {
		if i := bucket(response); i < 0 || i >= spreadBuckets {
			t.Errorf("%v is in bucket %d", response, i)
		}
	}
	if i := bucket(time.Hour); i != spreadBuckets-1 {
		t.Errorf("an hour is in bucket %d", i)
	}
}

func TestSpreadQuantile(t *testing.T) {
	all := newSpreads(true, 3)
	for i := range 100 {
		all.of(i).add(&record{class: Accepted, latency: time.Duration(i+1) * time.Millisecond})
		all.of(i).add(&record{class: Rejected, latency: time.Hour})
	}
	sum := all.sum()
	for q, want := range map[float64]time.Duration{0: time.Millisecond, 0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 1: 100 * time.Millisecond} {
		if got := sum.Quantile(q); (got - want).Abs() > want/30 {
			t.Errorf("quantile %v is %v, not %v", q, got, want)
		}
	}
	all.of(0).add(&record{class: Accepted, latency: time.Second, waitedUS: 1e6})
	if rest := all.sum().since(sum); rest.Count() != 1 || (rest.Quantile(0.5)-2*time.Second).Abs() > 70*time.Millisecond {
		t.Errorf("afterwards: %d, %v", rest.Count(), rest.Quantile(0.5))
	}
	if both := sum.Add(sum); both.Count() != 200 || sum.Count() != 100 {
		t.Errorf("%d", both.Count())
	}
	if n := (Spread{}).Add(sum).Count(); n != 100 {
		t.Errorf("%d", n)
	}
	if none := (Spread{}).Quantile(0.99); none != 0 {
		t.Errorf("of nothing: %v", none)
	}
	newSpreads(false, 3).of(2).add(&record{class: Accepted}) // nobody wants to know
}

func BenchmarkSpread(b *testing.B) {
	all := newSpreads(true, 64)
	b.RunParallel(func(pb *testing.PB) {
		counters, rec := all.of(3), &record{class: Accepted, latency: 23 * time.Millisecond}
		for pb.Next() {
			counters.add(rec)
		}
	})
}
