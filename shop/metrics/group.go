// Package metrics lets the workers of one master answer GET /metrics for all of them, whichever of them was asked.
//
// Each worker answers the others on a Unix socket in a private folder. Who is asked by Prometheus asks them all:
//
//	Prometheus ──► worker 1: Gather ─┬─► own registry
//	                                 ├─► 4712.sock ──► worker 2, its registry
//	                                 ├─► 4713.last     worker 3, which does not answer: what it has last shown
//	                                 └─► retired       the sums of all workers that have ended
//
// Series with the label "worker" belong to one process and are shown side by side. All others are added up. A sum must
// never fall, because Prometheus takes that for a restart from 0 and counts the rest twice. So each worker keeps what it
// has last shown of its sums in a file, the master adds the files of those that have ended to one, and a worker that
// leaves in order writes its file once more. What is lost with a worker that is killed is what nobody has been shown.
package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// answerTimeout bounds the wait for one worker. A healthy one answers within a few milliseconds.
const answerTimeout = 250 * time.Millisecond

// Peer is a worker, as the master tells of it.
type Peer struct {
	PID   int
	State string // for the figure of workers by state
	// Answers says that it is worth asking: it serves, or still finishes what it has.
	Answers bool
	// Leaving says that another worker has its place, so that its process figures are not shown.
	Leaving bool
}

// Group is this process as one of the workers. It is a prometheus.Gatherer over all of them; Gather may be called
// concurrently.
type Group struct {
	folder Folder
	pid    int
	own    prometheus.Gatherer
	peers  func() []Peer
	ln     net.Listener
	served sync.WaitGroup
	saving sync.Mutex
	saved  []byte // what the file holds; guarded by saving
	failed func(error)
	once   sync.Once // for failed
}

// Join makes this process answer the others, until Close. own gives the figures of this process, peers all workers, this
// one too. failed is called once, when the sums of this process cannot be saved for the first time. The error says that the others cannot reach it; the Group then shows what it can.
func Join(folder Folder, own prometheus.Gatherer, peers func() []Peer, failed func(error)) (*Group, error) {
	g := &Group{folder: folder, pid: os.Getpid(), own: own, peers: peers, failed: failed}
	if folder == "" {
		return g, errors.New("metrics: the workers have no folder to meet in")
	}
	return g, g.listen()
}

func (g *Group) listen() error {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "unix", g.folder.path(g.name(socketSuffix)))
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	g.ln = ln
	g.served.Go(g.serve)
	return nil
}

// Close ends the answering, waits for it, and leaves the sums of this worker behind.
func (g *Group) Close() {
	if g.ln == nil {
		return
	}
	_ = g.ln.Close()
	g.served.Wait()
	if families, err := g.own.Gather(); err == nil {
		g.save(families)
	}
}

func (g *Group) name(suffix string) string { return strconv.Itoa(g.pid) + suffix }

// serve answers one worker after the other: whoever asks reads quickly, or is cut off.
func (g *Group) serve() {
	for {
		conn, err := g.ln.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(answerTimeout))
		if families, err := g.own.Gather(); err == nil {
			g.save(families)
			_ = encode(conn, families) // who asked notices
		}
		_ = conn.Close()
	}
}

// save keeps what is about to be shown.
func (g *Group) save(families []*dto.MetricFamily) {
	if g.folder == "" {
		return
	}
	g.saving.Lock()
	defer g.saving.Unlock()
	var sums []*dto.MetricFamily
	for _, family := range families {
		kept := &dto.MetricFamily{Name: family.Name, Help: family.Help, Type: family.Type, Unit: family.Unit}
		for _, m := range family.GetMetric() {
			if keepSums(family, m) {
				kept.Metric = append(kept.Metric, m)
			}
		}
		if len(kept.Metric) > 0 {
			sums = append(sums, kept)
		}
	}
	var text bytes.Buffer
	if encode(&text, sums) != nil || bytes.Equal(text.Bytes(), g.saved) {
		return
	}
	if err := g.folder.write(g.name(lastSuffix), text.Bytes()); err != nil { // a full disk must not stop the answer
		if g.failed != nil {
			g.once.Do(func() { g.failed(err) })
		}
		return
	}
	g.saved = text.Bytes()
}

// Gather returns the figures of all workers. It takes no longer than the slowest one that answers in time.
func (g *Group) Gather() ([]*dto.MetricFamily, error) {
	if g.folder != "" {
		// Nobody may move figures from one file to another now: they would count twice or not at all.
		if unlock, err := g.folder.lock(unix.LOCK_SH); err == nil {
			defer unlock()
		}
	}
	own, err := g.own.Gather()
	if err != nil {
		return nil, err
	}
	g.save(own)
	sum := newTotal()
	peers := g.peers()
	answers := g.ask(peers)
	answers[g.pid] = own
	silent := 0
	for _, peer := range peers {
		families, answered := answers[peer.PID]
		switch {
		case !answered && peer.Answers:
			silent++
		case peer.Leaving && peer.PID != g.pid:
			sum.add(families, keepShared)
		default:
			sum.add(families, keepAll)
		}
	}
	if g.isUnlisted(peers) {
		sum.add(own, keepAll)
	}
	if g.folder != "" {
		sum.add(g.folder.read(retiredFile), keepAll)
		for _, pid := range g.folder.seen() {
			if _, answered := answers[pid]; !answered {
				sum.add(g.folder.read(strconv.Itoa(pid)+lastSuffix), keepAll)
			}
		}
	}
	sum.add(workers(peers, silent), keepAll)
	return sum.families(), nil
}

// isUnlisted says that the master has not told of this worker yet.
func (g *Group) isUnlisted(peers []Peer) bool {
	for _, peer := range peers {
		if peer.PID == g.pid {
			return false
		}
	}
	return true
}

// ask asks all others at once and returns the answers by process id.
func (g *Group) ask(peers []Peer) map[int][]*dto.MetricFamily {
	answers := map[int][]*dto.MetricFamily{}
	if g.folder == "" {
		return answers
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, peer := range peers {
		if peer.PID == g.pid || !peer.Answers {
			continue
		}
		asked.Go(func() {
			families, err := g.askOne(peer.PID)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers[peer.PID] = families
		})
	}
	asked.Wait()
	return answers
}

func (g *Group) askOne(pid int) ([]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", g.folder.path(strconv.Itoa(pid)+socketSuffix))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	families, err := decode(conn)
	if err == nil && len(families) == 0 {
		err = errors.New("metrics: an empty answer") // it ended meanwhile
	}
	return families, err
}

// workers are the figures of the workers as such.
func workers(peers []Peer, silent int) []*dto.MetricFamily {
	byState := map[string]float64{}
	for _, peer := range peers {
		byState[peer.State]++
	}
	states := &dto.MetricFamily{
		Name: proto.String("flashsale_workers"), Help: proto.String("Worker processes, by state."), Type: dto.MetricType_GAUGE.Enum(),
	}
	for state, n := range byState {
		states.Metric = append(states.Metric, &dto.Metric{
			Label: []*dto.LabelPair{{Name: proto.String("state"), Value: proto.String(state)}}, Gauge: &dto.Gauge{Value: proto.Float64(n)},
		})
	}
	missing := &dto.MetricFamily{
		Name:   proto.String("flashsale_workers_silent"),
		Help:   proto.String("Workers that did not answer in time, so that their sums are those that they have last shown."),
		Type:   dto.MetricType_GAUGE.Enum(),
		Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: proto.Float64(float64(silent))}}},
	}
	return []*dto.MetricFamily{states, missing}
}
