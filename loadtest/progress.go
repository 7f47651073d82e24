package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/live"
	"example.com/flashsale/loadtest/report"
	"example.com/flashsale/loadtest/runner"
	"example.com/flashsale/loadtest/schedule"
)

// liveFlags say how a command is watched.
type liveFlags struct {
	Plain bool   `group:"Live view" help:"In a terminal, one line of progress instead of a view that redraws. With TERM=dumb only what begins is said, and without a terminal nothing. NO_COLOR removes the colours."`
	Live  string `group:"Live view" placeholder:"ADDR" help:"Serve the live view as a web page, too, as in 9090 or 127.0.0.1:9090. Without a host it listens on loopback only; 0.0.0.0:9090 lets others watch, without a password."`
}

// checkLive refuses an address that is none, and makes it complete.
func (f *liveFlags) checkLive() (err error) {
	if f.Live == "" {
		return nil
	}
	if f.Live, err = live.ParseAddr(f.Live); err != nil {
		return usagef("--live: %w", err)
	}
	return nil
}

// progress shows what runs and how long it will still take: as a view or a line in the terminal, and as a web page. It
// shows nothing before it is opened. Its methods may be called concurrently.
type progress struct {
	board *live.Board
	app   *app
	flags *liveFlags // read when it is opened

	mu     sync.Mutex
	file   *os.File       // of the line; nil: no terminal
	view   *live.Terminal // nil: none; then the line takes its place
	server *live.Server   // nil: none
	unhook func()
}

// newProgress returns the progress of a command of that name.
func newProgress(a *app, name string, flags *liveFlags) *progress {
	return &progress{board: live.NewBoard(name), app: a, flags: flags, unhook: func() {}}
}

// open begins to show. The caller must close it.
func (p *progress) open() error {
	if p.flags.Live != "" {
		server, err := live.Serve(p.app.ctx, p.flags.Live, p.board.State)
		if err != nil {
			return usagef("--live: %w", err)
		}
		p.server = server
		_, _ = fmt.Fprintf(p.app.stderr, "live view: %s\n", server.URL())
	}
	if !isTerminal(p.app.stderr) {
		return nil
	}
	p.file = p.app.stderr.(*os.File)
	if p.drawable() {
		p.view = p.draw()
		hook := screenHook{leave: p.leave, suspend: p.suspend}
		p.unhook = hook.install()
	}
	return nil
}

// drawable says whether the terminal can bear a view.
func (p *progress) drawable() bool {
	return !p.flags.Plain && isTerminal(p.app.stdout) && live.Drawable(p.app.getenv("TERM")) && live.Foreground(p.file)
}

func (p *progress) draw() *live.Terminal {
	return live.OpenTerminal(os.Stdin, p.file, coloured(p.app), p.board.State)
}

// leave removes the view for good; from then on the line is shown.
func (p *progress) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.view != nil {
		p.view.Close()
		p.view = nil
	}
}

// suspend removes the view while the process is stopped.
func (p *progress) suspend(stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.view == nil {
		stop()
		return
	}
	p.view.Close()
	p.view = nil
	stop()
	if live.Foreground(p.file) {
		p.view = p.draw()
	}
}

// close ends the showing, and tells those who watch from elsewhere how it ended. It may be called again.
func (p *progress) close(outcome string) {
	p.board.Over(outcome)
	p.leave()
	p.unhook()
	p.write("")
	p.mu.Lock()
	p.file = nil
	p.mu.Unlock()
	if p.server != nil {
		p.server.Close()
	}
}

// above returns a writer to what may be the terminal of the view: the text comes above it.
func (p *progress) above(w io.Writer) io.Writer { return &aboveView{p, w} }

type aboveView struct {
	progress *progress
	to       io.Writer
}

// Write writes whole lines.
func (a *aboveView) Write(text []byte) (int, error) {
	a.progress.mu.Lock()
	defer a.progress.mu.Unlock()
	switch {
	case a.progress.view != nil:
		a.progress.view.Print(string(text))
		return len(text), nil
	case a.progress.file != nil && !a.progress.dumb():
		a.progress.erase()
	}
	return a.to.Write(text)
}

// plan adds steps and what they are expected to take.
func (p *progress) plan(steps ...time.Duration) { p.board.Plan(steps...) }

// next ends a step and begins another.
func (p *progress) next(label string) {
	p.board.Next(label)
	p.announce()
}

// skip leaves a step out.
func (p *progress) skip() { p.board.Skip() }

// say shows what goes on before the first step.
func (p *progress) say(text string) {
	p.board.Say(text)
	p.announce()
}

// detail shows what a step is doing that is no run.
func (p *progress) detail(what string) {
	p.board.Detail(what)
	p.show()
}

// begin makes the step a run.
func (p *progress) begin(info live.Info) { p.board.Begin(info) }

// update shows how far the run is.
func (p *progress) update(now attack.Progress) {
	p.board.Progress(now)
	p.show()
}

// drive is runner.Run for the step that has begun.
func (p *progress) drive(ctx context.Context, cfg runner.Config) (report.Run, error) {
	p.begin(describeRun(cfg))
	cfg.Progress = p.update
	if p.watched() {
		cfg.Sales = p.board.Stock
	}
	run, err := runner.Run(ctx, cfg)
	if err == nil {
		p.board.End(finished(run))
	}
	return run, err
}

// watched says whether anybody sees the stock. The line has no room for it.
func (p *progress) watched() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view != nil || p.server != nil
}

// describeRun is what a viewer is told of a run before it begins.
func describeRun(cfg runner.Config) live.Info {
	info := live.Info{Stage: cfg.Target.URL, Workload: string(cfg.Workload), Users: cfg.Users, Open: cfg.Schedule != nil}
	if cfg.Schedule != nil {
		plan := cfg.Schedule.Plan()
		info.Workload += fmt.Sprintf(", %s at %.4g/s", cmp.Or(plan.Profile, schedule.Constant), plan.Rate)
	}
	if h := cfg.Target.Health; h != nil {
		info.Stage, info.Guard, info.Expected = h.Stage, h.Guard, h.Expected
	}
	if cfg.DB != nil {
		info.Products = max(cfg.Products, 1)
		info.Units = cfg.Stock * int64(info.Products)
	}
	return info
}

// finished is what a viewer is told of a run afterwards.
func finished(run report.Run) live.Finished {
	f := live.Finished{
		Stage: run.Target, Guard: string(run.Guard), Workload: run.Workload, OrdersPerSecond: run.OrdersPerSecond, P99MS: run.Latency.P99,
		Expected: string(run.Expected),
	}
	if run.Stage != "" {
		f.Stage = string(run.Stage)
	}
	if run.Audit != nil {
		f.Verdict, f.Oversold = string(run.Audit.Verdict), run.Audit.Oversold
	}
	return f
}

// announce shows what begins: on a terminal that cannot erase as a line of its own.
func (p *progress) announce() {
	p.show()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil && p.dumb() {
		_, _ = fmt.Fprintln(p.file, p.board.Line())
	}
}

func (p *progress) dumb() bool { return !live.Drawable(p.app.getenv("TERM")) }

// show replaces the line, where there is a terminal and no view.
func (p *progress) show() { p.write(p.board.Line()) }

func (p *progress) write(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil || p.view != nil || p.dumb() {
		return
	}
	if width, _, err := term.GetSize(int(p.file.Fd())); err == nil && width > 1 && len(text) >= width {
		text = text[:width-1]
	}
	p.erase()
	_, _ = fmt.Fprint(p.file, text)
}

// erase empties the line. The caller holds the lock.
func (p *progress) erase() { _, _ = fmt.Fprint(p.file, "\r\x1b[K") }

// stopUntilContinued stops this process as the shell asked for. It returns when the process goes on.
func stopUntilContinued() {
	goesOn := make(chan os.Signal, 1)
	signal.Notify(goesOn, syscall.SIGCONT)
	defer signal.Stop(goesOn)
	if syscall.Kill(os.Getpid(), syscall.SIGSTOP) != nil {
		return
	}
	select { // the other threads stop this one a moment later
	case <-goesOn:
	case <-time.After(time.Second):
	}
}

// screenHook is called by signals, so that a view is gone before anything else is written, or the process is stopped.
type screenHook struct {
	leave   func()
	suspend func(stop func())
}

// install makes the hook that of the process, until the returned function is called, which waits.
func (h screenHook) install() (remove func()) {
	beforeStop.Store(&h.leave)
	stops := make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGTSTP)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-stops:
				h.suspend(stopUntilContinued)
			case <-done:
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		beforeStop.Store(nil)
		signal.Stop(stops)
		close(done)
		watching.Wait()
	})
}
