package fleet

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/schedule"
)

// errStopped ends a member whose parent has closed its stdin.
var errStopped = errors.New("stopped by the parent process")

// Member does the part of one process: it reads its job from in, says when its connections are open, waits for the start
// time, runs, and writes its outcomes to out. It returns when all is written. The end of in stops it.
func Member(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	buffered := bufio.NewWriterSize(out, 1<<16)
	s := &speaker{out: buffered, gob: gob.NewEncoder(buffered)}
	from := gob.NewDecoder(in)
	var j job
	if err := from.Decode(&j); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	start := make(chan time.Time, 1)
	go func() { // ends with in, which the parent closes at the latest when we have ended
		var at time.Time
		for from.Decode(&at) == nil {
			start <- at
		}
		cancel(errStopped)
	}()
	cfg, err := j.config(s, start)
	if err != nil {
		return s.say(message{Error: err.Error()})
	}
	result, err := attack.Run(ctx, cfg)
	if err != nil && result == nil {
		return s.say(message{Error: err.Error()})
	}
	if err := s.say(message{Done: true}); err != nil {
		return err
	}
	if err := result.Save(buffered); err != nil {
		return err
	}
	return buffered.Flush()
}

// config is the job as attack.Run takes it.
func (j job) config(s *speaker, start <-chan time.Time) (attack.Config, error) {
	c := j.Config
	cfg := attack.Config{
		Target: c.Target, Workload: c.Workload, Users: c.Users, FirstUserID: c.FirstUserID, ProductIDs: c.ProductIDs, Skew: c.Skew,
		Quantity: c.Quantity, PriceCents: c.PriceCents, Seed: c.Seed, Duration: c.Duration, Warmup: c.Warmup,
		ClientTimeout: c.ClientTimeout, LagTolerance: c.LagTolerance, StartAt: c.StartAt, LocalAddr: c.LocalAddr, ProgressEvery: c.ProgressEvery,
		Progress: func(p attack.Progress) { _ = s.say(message{Progress: &p}) }, // a parent that has gone closes stdin too
		Gate: func(ctx context.Context) error {
			if err := s.say(message{Ready: true}); err != nil {
				return err
			}
			return waitFor(ctx, start)
		},
	}
	if j.Plan == nil {
		return cfg, nil
	}
	timetable, err := schedule.New(*j.Plan)
	cfg.Schedule = timetable
	return cfg, err
}

// waitFor waits for the start time to be told, and then to come.
func waitFor(ctx context.Context, start <-chan time.Time) error {
	select {
	case at := <-start:
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// speaker writes messages. say may be called concurrently.
type speaker struct {
	mu  sync.Mutex
	out *bufio.Writer
	gob *gob.Encoder
}

func (s *speaker) say(m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.gob.Encode(m); err != nil {
		return err
	}
	return s.out.Flush()
}
