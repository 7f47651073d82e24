// Package prefork runs a network server as one master process and several worker processes that share an address.
//
// The master opens the listening sockets and never accepts a connection itself. It executes its own program once per
// worker; the program asks Child whether it is a worker. Worker and master talk over one socket (messages as lines of
// JSON); when either process dies, the kernel closes it, and the other side knows.
//
//	main ──► Child() ──┬─ false: Run(ctx, Config): master
//	                   └─ true:  worker: Context, Listener, Ready, serve, and Count for each request
//
// The master's life. One goroutine (run) owns all its state: an event changes a fact, then reconcile compares what is
// with what should be, and acts.
//
//	           first worker ready          all ready
//	starting ───────────────────► filling ──────────► ready ◄──┐ a worker died: start another
//	   │ exit code 2, or             │                  │ └────┘ HUP, USR2, recycling: replace one by one
//	   │ 5 deaths before ready       │                  │        TTIN, TTOU: one slot more, one less
//	   ▼                             ▼                  ▼
//	stopping ◄───────────────────────┴──────────────────┘  ctx ended: graceful; QUIT: quick
//	   │ TERM to all; KILL after StopTimeout
//	   ▼
//	 return   nil, or *ExitError, or who did not stop cleanly
//
// A worker's life, as the master sees it:
//
//	           Ready                  told to stop               exit
//	Starting ─────────► Serving ──────────────────────► Leaving ──────► gone
//	   │                   │ no beat for                   │
//	   │ ReadyTimeout      │ HeartbeatTimeout              │ StopTimeout
//	   │                   ▼          AbortTimeout         │
//	   │                 Hung (ABRT) ───────────┐          │
//	   │                                        ▼          ▼
//	   └──────────────────────────────────► Killed (KILL) ─────────────► gone
//
// From every state a worker can die. After a death in Serving its slot gets another worker at once; after a death in
// Starting only after a back-off, and MaxFailures of those in a row end the master, unless all have served before and some
// still do. Replacing a worker (SIGHUP, or its
// request limit) goes without a gap, one slot at a time:
//
//	slot:  worker A Serving ─────────────────────────────► A Leaving ───► gone
//	                  next  B Starting ─────► B Serving = worker of the slot
//
// Upgrading (SIGUSR2) is the same, and more: after a rehearsal (Rehearses), and once one worker of the new program serves,
// the master executes it in its own process. The new program gets all sockets and workers, adopts them (Inherits), and
// replaces the workers:
//
//	Run ──► rehearsal, in another process ──► one new worker ──► execve ──► Run (adopts) ──► all workers
//
// Sockets. In the mode ReusePort each slot has a socket of its own in one SO_REUSEPORT group. It stays open in the
// master, so what waits in its accept queue is not reset when a worker leaves or crashes: the next worker of the slot
// takes it. A slot is given up only when its queue is empty, while new connections are steered to the other slots.
//
// The number of workers can follow the load (Config.Scaling). When it grows, by that or by SIGTTIN, the workers that were
// there are asked to give away a share of their open connections (Worker.GiveAway), or the new ones would have nothing to do.
//
// Workers run in process groups of their own, so a Ctrl-C in a terminal reaches the master alone, which then stops them in
// order. A worker whose master has died, by SIGKILL too, ends its context at once and exits within OrphanGrace.
package prefork
