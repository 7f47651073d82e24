package attack

import (
	"sync"
	"sync/atomic"
	"time"
)

// record is an Outcome as it is kept while the run goes on: 64 bytes without a
// pointer, so that millions of them cost the garbage collector nothing.
type record struct {
	key        [16]byte
	orderID    int64
	totalCents int64
	sentAt     time.Duration
	latency    time.Duration
	product    uint32 // index into Config.ProductIDs
	waitedUS   uint32 // open model: from the moment when it was due to sentAt, in microseconds
	status     uint16
	code       codeID
	quantity   uint16
	class      Class
}

func (r *record) endedAt() time.Duration { return r.sentAt + r.latency }

// waited is 0 in the closed model, where an order is due when its user sends it.
func (r *record) waited() time.Duration { return time.Duration(r.waitedUS) * time.Microsecond }

func (r *record) dueAt() time.Duration { return r.sentAt - r.waited() }

// response is the time that a buyer waits: from the moment when the order was due.
func (r *record) response() time.Duration { return r.waited() + r.latency }

// Chunk sizes of a log in records: the first is small, for there may be a hundred
// thousand users, and each next one is twice as large up to the last.
const (
	firstChunk = 8
	lastChunk  = 1024
)

// userLog is what one user remembers, in order. Only its user may add to it.
type userLog struct {
	userID int64
	chunks [][]record
	open   []record // the chunk that is being filled; not in chunks

	dropped   []time.Duration // open model: when the orders were due that this user did not send
	lateDrops []time.Duration // those of them that the generator itself was late for
}

func newUserLog(userID int64) *userLog {
	return &userLog{userID: userID, open: make([]record, 0, firstChunk)}
}

// add appends a copy of r. It never moves what is there already.
func (l *userLog) add(r *record) {
	if len(l.open) == cap(l.open) {
		l.chunks = append(l.chunks, l.open)
		l.open = make([]record, 0, min(2*cap(l.open), lastChunk))
	}
	l.open = append(l.open, *r)
}

// each calls do for every record in order until it returns false, which each then
// returns too.
func (l *userLog) each(do func(*record) bool) bool {
	for _, chunk := range l.chunks {
		for i := range chunk {
			if !do(&chunk[i]) {
				return false
			}
		}
	}
	for i := range l.open {
		if !do(&l.open[i]) {
			return false
		}
	}
	return true
}

// codeID stands for a code's text in a record; 0 is the empty text.
type codeID uint16

// maxCodes bounds how many different codes a target can make us remember; all
// further ones are counted as codeOther.
const maxCodes = 256

// codeOther stands for the codes of a target that invents too many.
const codeOther = "other"

// codeTable numbers codes. Its zero value is ready; all methods may be called
// concurrently, and only the first sight of a code takes a lock.
type codeTable struct {
	known atomic.Pointer[codeIndex]
	mu    sync.Mutex
}

// codeIndex is never changed once it is published.
type codeIndex struct {
	ids   map[string]codeID
	texts []string
}

// id returns the number of a code.
func (t *codeTable) id(code []byte) codeID {
	if len(code) == 0 {
		return 0
	}
	if index := t.known.Load(); index != nil {
		if id, ok := index.ids[string(code)]; ok {
			return id
		}
	}
	return t.learn(string(code))
}

func (t *codeTable) learn(code string) codeID {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := codeIndex{ids: map[string]codeID{"": 0, codeOther: 1}, texts: []string{"", codeOther}}
	if index := t.known.Load(); index != nil {
		if id, ok := index.ids[code]; ok {
			return id
		}
		if len(index.texts) >= maxCodes {
			return index.ids[codeOther]
		}
		next.texts = append([]string(nil), index.texts...)
		for text, id := range index.ids {
			next.ids[text] = id
		}
	}
	if id, ok := next.ids[code]; ok {
		return id
	}
	id := codeID(len(next.texts))
	next.ids[code] = id
	next.texts = append(next.texts, code)
	t.known.Store(&next)
	return id
}

// text returns the code that has this number.
func (t *codeTable) text(id codeID) string {
	if id == 0 {
		return ""
	}
	return t.known.Load().texts[id]
}

// counters are one user's counts while the run goes on, alone on their cache
// lines (two, since processors fetch them in pairs): another user's counting
// must not slow down this one's.
type counters struct {
	byClass [classes]atomic.Int64
	dropped atomic.Int64
	_       [128 - 8*classes - 8]byte
}
