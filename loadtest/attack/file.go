package attack

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// fileVersion is that of the format of Save. It is no archive: both ends are of one build, or nearly.
const fileVersion = 1

// fileHead begins a saved result; one fileUser for each of its logs follows.
type fileHead struct {
	Version     int
	Start       time.Time
	Interrupted bool
	Recipe      recipe
	Users       int
}

type fileUser struct {
	ID                 int64
	Outcomes           []Outcome
	Dropped, LateDrops []time.Duration
}

// Save writes everything that the result was computed from. Load reads it back.
func (r *Result) Save(w io.Writer) error {
	out := gob.NewEncoder(w)
	head := fileHead{Version: fileVersion, Start: r.Start.Round(0), Interrupted: r.Interrupted, Recipe: r.recipe, Users: len(r.logs)}
	if err := out.Encode(head); err != nil {
		return fmt.Errorf("save outcomes: %w", err)
	}
	for _, log := range r.logs {
		user := fileUser{ID: log.userID, Dropped: log.dropped, LateDrops: log.lateDrops}
		log.each(func(rec *record) bool {
			user.Outcomes = append(user.Outcomes, r.outcome(log.userID, rec))
			return true
		})
		if err := out.Encode(user); err != nil {
			return fmt.Errorf("save outcomes: %w", err)
		}
	}
	return nil
}

// Load reads what Save has written, and computes the result again.
func Load(from io.Reader) (*Result, error) {
	in := gob.NewDecoder(from)
	var head fileHead
	if err := in.Decode(&head); err != nil {
		return nil, fmt.Errorf("read outcomes: %w", err)
	}
	if head.Version != fileVersion {
		return nil, fmt.Errorf("read outcomes: version %d, but this program reads version %d", head.Version, fileVersion)
	}
	r := &Result{Start: head.Start, Interrupted: head.Interrupted, recipe: head.Recipe, codes: &codeTable{}}
	for range head.Users {
		var user fileUser
		if err := in.Decode(&user); err != nil {
			return nil, fmt.Errorf("read outcomes: %w", err)
		}
		if err := r.addUser(user); err != nil {
			return nil, err
		}
	}
	r.compute()
	return r, nil
}

// addUser adds the log of a user that was saved.
func (r *Result) addUser(user fileUser) error {
	log := newUserLog(user.ID)
	log.dropped, log.lateDrops = user.Dropped, user.LateDrops
	for _, o := range user.Outcomes {
		product := slices.Index(r.recipe.Products, o.ProductID)
		if product < 0 || o.Class >= classes {
			return errors.New("read outcomes: an order of a product that was none of the run's")
		}
		log.add(&record{
			key: o.Key, orderID: o.OrderID, totalCents: o.TotalCents, sentAt: o.SentAt, latency: o.Latency, product: uint32(product),
			waitedUS: micros(o.Waited), status: uint16(o.Status), code: r.codes.id([]byte(o.Code)), quantity: uint16(o.Quantity), class: o.Class,
		})
	}
	r.logs = append(r.logs, log)
	return nil
}

// Merge joins the results of generators that drove one target at the same time: histograms are those of all outcomes,
// and rates add up. Its start is the first one's; the clocks of several machines must agree. The parts must be of one
// workload, duration, client time-out and set of products; they must not be used any more.
func Merge(parts ...*Result) (*Result, error) {
	if len(parts) == 0 {
		return nil, errors.New("nothing to merge")
	}
	all := &Result{Start: parts[0].Start, recipe: parts[0].recipe, codes: &codeTable{}}
	all.recipe.MemoryBytes = 0
	for _, part := range parts {
		if part.Start.Before(all.Start) {
			all.Start = part.Start
		}
	}
	if how := &all.recipe; how.Plan != nil {
		how.Plan = new(*how.Plan)
		how.Plan.Rate, how.Plan.Peak, how.CPUShare = 0, 0, 0
	}
	for i, part := range parts {
		if err := all.join(part); err != nil {
			return nil, fmt.Errorf("merge result %d: %w", i+1, err)
		}
	}
	all.compute()
	return all, nil
}

// join adds the logs of a part.
func (r *Result) join(part *Result) error {
	mine, its := &r.recipe, part.recipe
	switch {
	case its.Workload != mine.Workload || its.Duration != mine.Duration || its.Warmup != mine.Warmup || (its.Plan == nil) != (mine.Plan == nil):
		return errors.New("it is of another workload or duration than the first")
	case its.patience() != mine.patience():
		return fmt.Errorf("its users waited %v for an answer, those of the first %v", its.patience(), mine.patience())
	case !slices.Equal(its.Products, mine.Products):
		return errors.New("it ordered other products than the first")
	}
	if its.Plan != nil {
		mine.Plan.Rate += its.Plan.Rate
		mine.Plan.Peak += its.Plan.Peak
	}
	mine.CPUShare += its.CPUShare
	mine.MemoryBytes += its.MemoryBytes
	r.Interrupted = r.Interrupted || part.Interrupted
	later := part.Start.Sub(r.Start)
	for _, log := range part.logs {
		for i := range log.dropped {
			log.dropped[i] += later
		}
		for i := range log.lateDrops {
			log.lateDrops[i] += later
		}
		log.each(func(rec *record) bool {
			rec.sentAt += later
			rec.code = r.codes.id([]byte(part.codes.text(rec.code)))
			return true
		})
		r.logs = append(r.logs, log)
	}
	return nil
}
