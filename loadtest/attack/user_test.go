package attack

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// workTime is what a fakeService takes for an answer.
const workTime = 10 * time.Millisecond

// fakeService answers in a synctest bubble without a network.
type fakeService struct {
	start  time.Time
	answer func(n int) (record, answer) // to the n-th request, from 1
	sent   int
}

func (f *fakeService) send(ctx context.Context, rec *record) (answer, bool) {
	if ctx.Err() != nil {
		return answer{}, false
	}
	f.sent++
	rec.sentAt = time.Since(f.start)
	sleep(context.WithoutCancel(ctx), workTime)
	said, ans := f.answer(f.sent)
	rec.class, rec.code, rec.status = said.class, said.code, said.status
	rec.latency = time.Since(f.start) - rec.sentAt
	return ans, true
}

// Answers of a fakeService. soldOutCode is the number of out_of_stock.
const soldOutCode codeID = 2

var (
	yes     = record{class: Accepted, status: 201}
	soldOut = record{class: Rejected, status: 409, code: soldOutCode}
	refused = record{class: Rejected, status: 409, code: 3}
	busy    = record{class: Failed, status: 503, code: 4}
	unknown = record{class: Unknown, code: 5}
)

// said answers the n-th request with the n-th of these, and further ones with the last.
func said(answers ...record) func(int) (record, answer) {
	return func(n int) (record, answer) {
		return answers[min(n, len(answers))-1], answer{retryAfter: time.Second}
	}
}

// flashSale runs one user of a flash sale and returns when it sent its requests and
// when it left.
func flashSale(ctx context.Context, duration time.Duration, answer func(int) (record, answer)) (sent []time.Duration, left time.Duration) {
	start := time.Now()
	u := &user{
		sender:    &fakeService{start: start, answer: answer},
		behaviour: &flashBuyer{soldOut: soldOutCode, patience: patience{rng: rand.New(rand.NewPCG(1, 1))}},
		keys:      newKeySource(),
		log:       newUserLog(1),
		counters:  &counters{},
	}
	u.run(ctx, duration)
	u.log.each(func(rec *record) bool { sent = append(sent, rec.sentAt); return true })
	return sent, time.Since(start)
}

func TestFlashSaleEndsWithOneMoreTry(t *testing.T) {
	tests := []struct {
		name    string
		answers []record
		want    []time.Duration // when the requests are sent
	}{
		{"sold out at once", []record{soldOut}, []time.Duration{0, 210 * time.Millisecond}},
		{"three sold", []record{yes, yes, yes, soldOut},
			[]time.Duration{0, 10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond, 240 * time.Millisecond}},
		{"stock comes back, the user leaves all the same", []record{soldOut, yes},
			[]time.Duration{0, 210 * time.Millisecond}},
		{"the last try fails", []record{soldOut, busy}, []time.Duration{0, 210 * time.Millisecond}},
		{"another refusal is not the end", []record{refused, refused, soldOut},
			[]time.Duration{0, 10 * time.Millisecond, 20 * time.Millisecond, 230 * time.Millisecond}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent, left := flashSale(t.Context(), time.Minute, said(tt.answers...))
				if !slices.Equal(sent, tt.want) {
					t.Errorf("sent at %v, want %v", sent, tt.want)
				}
				if want := tt.want[len(tt.want)-1] + workTime; left != want {
					t.Errorf("left at %v, want %v", left, want)
				}
			})
		})
	}
}

func TestFlashSaleIsBoundedByItsDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent, left := flashSale(t.Context(), 95*time.Millisecond, said(yes))
		if len(sent) != 10 || left != 100*time.Millisecond {
			t.Errorf("%d requests, left at %v", len(sent), left)
		}
		// The last try would come too late: nobody waits for it.
		sent, left = flashSale(t.Context(), 200*time.Millisecond, said(soldOut))
		if len(sent) != 1 || left != workTime {
			t.Errorf("%d requests, left at %v", len(sent), left)
		}
	})
}

func TestUsersAreNotPushy(t *testing.T) {
	for name, answer := range map[string]record{"overloaded": busy, "connection lost": unknown} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent, _ := flashSale(t.Context(), 10*time.Second, said(answer))
				for i := 1; i < len(sent); i++ {
					pause, least := sent[i]-sent[i-1]-workTime, maxBackOff<<min(i-1, doublings)
					if pause < least || pause > least*3/2 {
						t.Errorf("pause %d: %v", i, pause)
					}
				}
				if len(sent) < 7 {
					t.Errorf("only %d requests", len(sent))
				}
			})
		})
	}
}

func TestUserLeavesWhenInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		sent, left := flashSale(ctx, time.Minute, said(soldOut)) // in the pause before the last try
		if len(sent) != 1 || left != 50*time.Millisecond {
			t.Errorf("%d requests, left at %v", len(sent), left)
		}
		sent, left = flashSale(ctx, time.Minute, said(yes))
		if len(sent) != 0 || left != 0 {
			t.Errorf("%d requests, left at %v", len(sent), left)
		}
	})
}

func TestSustainedUserNeverLeaves(t *testing.T) {
	b := &sustainedBuyer{draw: newDrawer(3, 0), patience: patience{rng: rand.New(rand.NewPCG(1, 1))}}
	for _, rec := range []record{yes, soldOut, refused, busy, unknown} {
		if _, leave := b.after(&rec, answer{retryAfter: noRetryAfter}); leave {
			t.Errorf("left after %+v", rec)
		}
		if i := b.product(); i < 0 || i > 2 {
			t.Errorf("product %d of 3", i)
		}
	}
}

func TestBackOff(t *testing.T) {
	const unknown = noRetryAfter
	tests := []struct {
		retryAfter time.Duration
		times      int
		random     float64
		want       time.Duration
	}{
		{0, 1, 0, minBackOff},
		{time.Millisecond, 1, 0, minBackOff},
		{50 * time.Millisecond, 1, 0, 50 * time.Millisecond},
		{50 * time.Millisecond, 1, 0.5, 62500 * time.Microsecond},
		{50 * time.Millisecond, 2, 0.5, 125 * time.Millisecond},
		{time.Second, 1, 0, maxBackOff},
		{time.Hour, 1, 0, maxBackOff},
		{unknown, 1, 0, maxBackOff},
		{unknown, 3, 0, 4 * maxBackOff},
		{unknown, 1 << 40, 0, maxBackOff << doublings},
	}
	for _, tt := range tests {
		if got := backOff(tt.retryAfter, tt.times, tt.random); got != tt.want {
			t.Errorf("backOff(%v, %d, %v) = %v, want %v", tt.retryAfter, tt.times, tt.random, got, tt.want)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		retryAfter := time.Duration(rng.Int64N(int64(2*time.Second))) - 1
		if got := backOff(retryAfter, 1, rng.Float64()); got < minBackOff || got >= maxBackOff*3/2 {
			t.Fatalf("backOff(%v) = %v", retryAfter, got)
		}
	}
}

func TestWhoHasToWait(t *testing.T) {
	p := patience{rng: rand.New(rand.NewPCG(1, 1))}
	for status := range 600 {
		rec := record{status: uint16(status)}
		waits := p.pauseAfter(&rec, answer{}) > 0
		if want := status == 0 || status == 503 || status == 429; waits != want {
			t.Errorf("status %d: waits is %v", status, waits)
		}
	}
}

func TestDraw(t *testing.T) {
	const draws = 200_000
	for _, tt := range []struct {
		skew float64
		want []float64 // shares
	}{
		{0, []float64{0.25, 0.25, 0.25, 0.25}},
		{1, []float64{0.48, 0.24, 0.16, 0.12}},
		{2, []float64{0.7024, 0.1756, 0.0780, 0.0439}},
	} {
		d, rng := newDrawer(4, tt.skew), rand.New(rand.NewPCG(1, 2))
		counts := make([]int, 4)
		for range draws {
			counts[d.next(rng)]++
		}
		for i, want := range tt.want {
			if share := float64(counts[i]) / draws; share < want-0.01 || share > want+0.01 {
				t.Errorf("skew %g: product %d has a share of %.3f, want %.3f", tt.skew, i, share, want)
			}
		}
	}
	if got := newDrawer(1, 1).next(rand.New(rand.NewPCG(1, 1))); got != 0 {
		t.Errorf("drew %d of 1", got)
	}
}
