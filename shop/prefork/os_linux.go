package prefork

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// canShare says whether SO_REUSEPORT spreads connections here.
const canShare = true

// canUpgrade says whether a master can become another program here.
const canUpgrade = true

// steer makes the kernel give new connections only to the sockets whose number is listed, evenly at random; nil gives all
// sockets their turn again, by the hash of the connection. Connections that already wait in a queue stay there.
//
// The kernel numbers the sockets of a SO_REUSEPORT group in the order of their opening, and a classic BPF program may name
// the one to take (SO_ATTACH_REUSEPORT_CBPF in socket(7)).
func (s *sockets) steer(to []int) error {
	if s.mode == Shared {
		return nil
	}
	fd := s.open[0]
	if to == nil {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
	}
	program := steering(to)
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// steering is the program: r = random % n; if r == 0 return to[0]; if r == 1 return to[1]; …
func steering(to []int) []unix.SockFilter {
	const random = 0xfffff000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(len(to))},
	}
	for i, slot := range to {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(i)},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(slot)})
	}
	return append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(to[0])})
}

// refuse makes the sockets ignore whoever asks for a new connection; handshakes under way still end in the accept queue.
// Whoever is ignored asks again after about a second, and finds the port closed by then. So the queues can run empty
// before the sockets are closed, which would reset what waits in them.
func (s *sockets) refuse() error {
	const flags, syn, synOrAck = 13, 0x02, 0x12 // in the TCP header, where a filter on a TCP socket starts to count
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: synOrAck},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: syn},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 20}, // the length to keep: all
	}
	for _, fd := range s.open {
		err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
		if err != nil {
			return err
		}
	}
	return nil
}

// queued returns how many connections wait in the accept queue of a slot's socket. For a listening socket the kernel
// reports that as tcpi_unacked (tcp_get_info in net/ipv4/tcp.c).
func (s *sockets) queued(slot int) (int, error) {
	info, err := unix.GetsockoptTCPInfo(s.slot(slot), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, fmt.Errorf("prefork: length of the accept queue: %w", err)
	}
	return int(info.Unacked), nil
}

// processAttributes puts a worker into a process group of its own, so that a Ctrl-C in the terminal reaches the master
// alone. When the master dies, a worker that is stopped (SIGSTOP) is woken up: only then can it notice, and leave.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGCONT}
}

// handedSignals are those that a master heeds. They are blocked while one master becomes the next, so that they wait.
var handedSignals = signalSet(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGTTIN, unix.SIGTTOU, unix.SIGUSR2)

func signalSet(signals ...syscall.Signal) *unix.Sigset_t {
	var set unix.Sigset_t
	bits := uint(8 * unsafe.Sizeof(set.Val[0]))
	for _, s := range signals {
		set.Val[(uint(s)-1)/bits] |= 1 << ((uint(s) - 1) % bits)
	}
	return &set
}

// startUnblocked calls start on a thread that blocks none of handedSignals: a process begins with the mask of the thread
// that forks it, and those of a master that follows another have them blocked.
func startUnblocked(start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PthreadSigmask(unix.SIG_UNBLOCK, handedSignals, nil); err != nil {
		return err
	}
	return start()
}

// awaitEnd blocks until the child has ended. It leaves it to be waited for.
func awaitEnd(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
