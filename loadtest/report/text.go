package report

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// term is one line of the explanation of a report.
type term struct{ Word, Meaning string }

// glossary explains the table in plain words, in the order of its columns.
var glossary = []term{
	{"model", "How the stage admits and executes requests."},
	{"guard", "How the stock is protected while an order reads, checks and changes it."},
	{"expected", "What theory says of this guard in this stage: safe, or broken. A broken guard that oversells is a result as expected."},
	{"sold/stock", "Units in orders in the database after the run, of the units that there were at its start. A sustained run has a billion (1bn), so that it never sells out."},
	{"oversold", "Units sold above what there was. More than 0 means that customers have paid for what does not exist."},
	{"verdict", "ok: every order that a client was told of exists once, and sold + left is the initial stock. " +
		"oversold, undersold: more or less was sold than there was. inconsistent: orders are lost, doubled or differ from their receipts, or the stock does not add up. " +
		"unsettled: the database did not come to rest, so nothing can be said."},
	{"orders/s", "Accepted orders per second; in a flash sale until the last one. Answers such as sold out are not orders."},
	{"QPS", "Requests answered per second, whatever the answer was."},
	{"p50, p99", "Half, and 99 of 100, accepted orders were answered within this time. p99 is shown from 1,000 orders on: with fewer it would be the figure of a handful of orders."},
	{"memory", "The largest sum over the stage's processes (PSS: what they share is counted once)."},
	{"threads", "The largest number of operating system threads of the stage."},
	{"switches per order", "Context switches of the stage, voluntary and involuntary, per accepted order."},
	{unknown, "Not known, or not measurable here."},
	{"user latency", "Time that the look-up of the buyer takes, as if it were a call to another service. The stage simulates it by waiting."},
}

// caveats are the sentences that a reader must see before any figure.
func caveats(r *Result) []string {
	var out []string
	for _, note := range r.Notes {
		out = append(out, printable(note))
	}
	if p := r.Backing.Postgres; p != nil {
		if p.Fsync == "off" {
			out = append(out, "Postgres runs with fsync off: these figures are not those of a durable database.")
		}
		if p.SynchronousCommit == "off" {
			out = append(out, "Postgres runs with synchronous_commit off: these figures are not those of a durable database.")
		}
	}
	out = append(out, ceilingCaveats(r)...)
	out = append(out, openCaveats(r)...)
	out = append(out, capacityCaveats(r)...)
	for i := range r.Runs {
		run := &r.Runs[i]
		if run.Workload == FlashSale && run.Audit != nil && run.Audit.Left > 0 && run.ElapsedSeconds >= run.Settings.DurationSeconds {
			out = append(out, run.Name()+": time was up before all was sold; a longer --duration shows the end of the sale.")
		}
	}
	return out
}

// machineText describes the machine in one line.
func machineText(r *Result) string {
	m := r.Machine
	text := count(m.CPUs, "CPU")
	if m.CPUModel != "" {
		text += " (" + string(m.CPUModel) + ")"
	}
	if m.MemoryBytes != nil {
		text += ", " + humanize.IBytes(uint64(max(*m.MemoryBytes, 0))) + " memory"
	}
	text += ", " + m.OS
	if m.Kernel != "" {
		text += " " + string(m.Kernel)
	}
	return text + ", " + m.GoVersion
}

// backingText describes the services that the stages used, in one line each.
func backingText(r *Result) []string {
	var out []string
	if p := r.Backing.Postgres; p != nil {
		text := "Postgres" + versionText(p.Version, p.Source)
		if p.Fsync != "" {
			text += ", fsync " + string(p.Fsync)
			if p.FsyncUS != nil {
				text += fmt.Sprintf(" (%s µs", humanize.Comma(*p.FsyncUS))
				if p.Filesystem != "" {
					text += " on " + string(p.Filesystem)
				}
				text += ")"
			}
		}
		if p.SynchronousCommit != "" {
			text += ", synchronous_commit " + string(p.SynchronousCommit)
		}
		out = append(out, text)
	}
	if p := r.Backing.Redis; p != nil {
		out = append(out, "Redis"+versionText(p.Version, p.Source))
	}
	return out
}

func versionText(version, source string) string {
	if version != "" {
		version = " " + version
	}
	if source != "" {
		source = " (" + source + ")"
	}
	return version + source
}
