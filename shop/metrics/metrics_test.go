package metrics

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// member is a worker of a test, within this process.
type member struct {
	*Group
	orders  prometheus.Counter
	seconds prometheus.Histogram
	waiting prometheus.Gauge
}

// join lets a worker with this process id join. Its process figures have its slot as label.
func join(t *testing.T, folder Folder, pid, slot int, peers func() []Peer) *member {
	t.Helper()
	m := &member{
		orders:  prometheus.NewCounter(prometheus.CounterOpts{Name: "orders_total", Help: "h"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "seconds", Help: "h", Buckets: []float64{1, 2}}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "waiting", Help: "h"}),
	}
	memory := prometheus.NewGauge(prometheus.GaugeOpts{Name: "memory", Help: "h"})
	memory.Set(float64(pid))
	reg := prometheus.NewRegistry()
	reg.MustRegister(m.orders, m.seconds, m.waiting)
	prometheus.WrapRegistererWith(prometheus.Labels{WorkerLabel: strconv.Itoa(slot)}, reg).MustRegister(memory)
	m.Group = &Group{folder: folder, pid: pid, own: reg, peers: peers}
	if folder == "" {
		return m
	}
	if err := m.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func newFolder(t *testing.T) Folder {
	t.Helper()
	folder, err := NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(folder.Remove)
	return folder
}

func serving(pids ...int) func() []Peer {
	var peers []Peer
	for _, pid := range pids {
		peers = append(peers, Peer{PID: pid, State: "serving", Answers: true})
	}
	return func() []Peer { return peers }
}

// shown returns all values by name and labels; of a histogram its count.
func (m *member) shown(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, s := range family.GetMetric() {
			name := family.GetName()
			for _, l := range s.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			if _, twice := values[name]; twice {
				t.Errorf("%s is there twice", name)
			}
			values[name] = s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(s.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func (m *member) want(t *testing.T, want map[string]float64) {
	t.Helper()
	got := m.shown(t)
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s = %v (there: %v), want %v", name, v, ok, value)
		}
	}
}

// TestGather: sums are the same whoever is asked, and process figures stand side by side.
func TestGather(t *testing.T) {
	t.Parallel()
	folder, peers := newFolder(t), serving(1, 2, 3)
	var members []*member
	for pid := 1; pid <= 3; pid++ {
		m := join(t, folder, pid, pid-1, peers)
		m.orders.Add(float64(pid))
		m.seconds.Observe(1.5)
		m.waiting.Set(10)
		members = append(members, m)
	}
	for _, m := range members {
		m.want(t, map[string]float64{
			"orders_total": 6, "seconds": 3, "waiting": 30, "memory worker=0": 1, "memory worker=1": 2, "memory worker=2": 3,
			"flashsale_workers state=serving": 3, "flashsale_workers_silent": 0,
		})
	}
}

// TestSumsNeverFall: a worker that ends in order leaves all behind, one that is killed what was shown.
func TestSumsNeverFall(t *testing.T) {
	t.Parallel()
	folder := newFolder(t)
	a, b, c := join(t, folder, 1, 0, serving(1, 2, 3)), join(t, folder, 2, 1, serving(1, 2, 3)), join(t, folder, 3, 2, serving(1, 2, 3))
	for _, m := range []*member{a, b, c} {
		m.orders.Add(100)
		m.waiting.Set(5)
	}
	a.want(t, map[string]float64{"orders_total": 300, "waiting": 15})
	b.orders.Add(7) // after it was asked: its end shows it
	b.Close()
	c.orders.Add(9) // nobody has seen this when c is killed
	_ = c.ln.Close()
	c.served.Wait()

	a.want(t, map[string]float64{"orders_total": 307, "waiting": 5, "flashsale_workers_silent": 2})
	a.peers = serving(1)
	a.want(t, map[string]float64{"orders_total": 307, "waiting": 5, "flashsale_workers_silent": 0})
	for range 2 {
		folder.Retire([]int{1})
		a.want(t, map[string]float64{"orders_total": 307, "waiting": 5})
	}
	left, err := filepath.Glob(folder.path("[23].*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	d := join(t, folder, 4, 1, serving(1, 4))
	d.orders.Inc()
	d.want(t, map[string]float64{"orders_total": 308, "seconds": 0})
}

// TestRetireWaitsForReaders: what is being read is not moved.
func TestRetireWaitsForReaders(t *testing.T) {
	t.Parallel()
	folder := newFolder(t)
	a := join(t, folder, 1, 0, serving(1))
	a.orders.Inc()
	a.Close()
	unlock, err := folder.lock(1) // LOCK_SH
	if err != nil {
		t.Fatal(err)
	}
	folder.Retire(nil)
	if len(folder.seen()) != 1 {
		t.Error("the figures were moved while somebody read them")
	}
	unlock()
	folder.Retire(nil)
	if seen := folder.seen(); len(seen) != 0 {
		t.Errorf("the figures of %v were not moved", seen)
	}
}

// TestLeaving: of two workers in one place the process figures of the newer one are shown, the sums of both.
func TestLeaving(t *testing.T) {
	t.Parallel()
	folder := newFolder(t)
	peers := func() []Peer {
		return []Peer{{PID: 1, State: "leaving", Answers: true, Leaving: true}, {PID: 2, State: "serving", Answers: true}, {PID: 3, State: "starting"}}
	}
	old, young := join(t, folder, 1, 0, peers), join(t, folder, 2, 0, peers)
	old.orders.Add(3)
	young.orders.Add(4)
	young.want(t, map[string]float64{
		"orders_total": 7, "memory worker=0": 2, "flashsale_workers state=leaving": 1, "flashsale_workers state=starting": 1, "flashsale_workers_silent": 0,
	})
}

// TestSilent: a worker that accepts and does not answer holds nobody up for long.
func TestSilent(t *testing.T) {
	t.Parallel()
	folder := newFolder(t)
	a, b := join(t, folder, 1, 0, serving(1, 2)), join(t, folder, 2, 1, serving(1, 2))
	b.orders.Add(5)
	a.orders.Add(1)
	a.want(t, map[string]float64{"orders_total": 6})
	b.saving.Lock() // it gets stuck when it is asked
	a.want(t, map[string]float64{"orders_total": 6, "flashsale_workers_silent": 1})
	b.saving.Unlock()
}

// TestAlone: without a folder, and before the master has told of it, a worker shows its own figures.
func TestAlone(t *testing.T) {
	t.Parallel()
	m := join(t, "", 1, 0, serving(1, 2))
	m.orders.Inc()
	m.want(t, map[string]float64{"orders_total": 1})
	Folder("").Retire(nil)
	Folder("").Remove()
	m.Close()
	m = join(t, newFolder(t), 1, 0, serving())
	m.orders.Inc()
	m.want(t, map[string]float64{"orders_total": 1, "flashsale_workers_silent": 0})
}

// TestFolderIsPrivate: nobody else can ask, or read.
func TestFolderIsPrivate(t *testing.T) {
	t.Parallel()
	folder := newFolder(t)
	info, err := os.Stat(string(folder))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v, want 0700", info.Mode(), err)
	}
	folder.Remove()
	if _, err := os.Stat(string(folder)); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
	if _, err := Join(folder, prometheus.NewRegistry(), serving(), nil); err == nil {
		t.Error("a folder that is not there is no error")
	}
}

// TestOtherVersion: what cannot be added stays as the first has it.
func TestOtherVersion(t *testing.T) {
	t.Parallel()
	gather := func(c prometheus.Collector) []*dto.MetricFamily {
		reg := prometheus.NewRegistry()
		reg.MustRegister(c)
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return families
	}
	histogram := func(bounds ...float64) []*dto.MetricFamily {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Buckets: bounds})
		h.Observe(1)
		return gather(h)
	}
	sum := newTotal()
	sum.add(histogram(1, 2), keepAll)
	sum.add(histogram(1, 3), keepAll)
	sum.add(histogram(1), keepAll)
	sum.add(gather(prometheus.NewCounter(prometheus.CounterOpts{Name: "x"})), keepAll)
	families := sum.families()
	if len(families) != 1 || families[0].GetMetric()[0].GetHistogram().GetSampleCount() != 1 {
		t.Errorf("%v", families)
	}
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "y", Objectives: map[float64]float64{.5: .1}})
	summary.Observe(2)
	sum.add(gather(summary), keepAll)
	sum.add(gather(summary), keepAll)
	y := sum.families()[1].GetMetric()[0].GetSummary()
	if y.GetSampleCount() != 2 || y.GetSampleSum() != 4 || len(y.GetQuantile()) != 0 {
		t.Errorf("%v", y)
	}
}

// BenchmarkGather is one scrape of eight workers, which share this process's cores. It should take less than 5 ms.
func BenchmarkGather(b *testing.B) {
	folder, err := NewFolder()
	if err != nil {
		b.Fatal(err)
	}
	defer folder.Remove()
	peers := serving(1, 2, 3, 4, 5, 6, 7, 8)
	var groups []*Group
	for pid := 1; pid <= 8; pid++ {
		reg := prometheus.NewRegistry()
		orders := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "seconds", Buckets: prometheus.ExponentialBuckets(.001, 2, 13)}, []string{"outcome"})
		for i := range 11 {
			orders.WithLabelValues(strconv.Itoa(i)).Observe(1)
		}
		reg.MustRegister(orders)
		Register(prometheus.WrapRegistererWith(prometheus.Labels{WorkerLabel: strconv.Itoa(pid)}, reg))
		g := &Group{folder: folder, pid: pid, own: reg, peers: peers}
		if err := g.listen(); err != nil {
			b.Fatal(err)
		}
		defer g.Close() //nolint:revive // eight of them
		groups = append(groups, g)
	}
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := groups[0].Gather(); err != nil {
			b.Fatal(err)
		}
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(used)/1e6/float64(b.N), "cpu-ms/op") // of all eight and who asks; says more on a busy machine
}

// What cannot be saved is said once, and the answer comes all the same.
func TestSaysThatItCannotSave(t *testing.T) {
	t.Parallel()
	said := 0
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "orders_total", Help: "Orders."}))
	g, err := Join(Folder(t.TempDir()+"/nowhere"), registry, serving(), func(error) { said++ })
	if err == nil {
		t.Error("it listens in a folder that is not there")
	}
	for range 2 {
		if _, err := g.Gather(); err != nil {
			t.Error(err)
		}
	}
	if said != 1 {
		t.Errorf("it is said %d times, want 1", said)
	}
}

func TestFolderIsTheServicesOwn(t *testing.T) {
	own := t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", own+":/nowhere")
	folder, err := NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Remove()
	if filepath.Dir(string(folder)) != own {
		t.Errorf("the folder is %s, want it in %s", folder, own)
	}
	t.Setenv("RUNTIME_DIRECTORY", own+"/nowhere")
	other, err := NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	other.Remove()
}
