package runner

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/shirou/gopsutil/v4/net"

	"example.com/flashsale/harness/stage"
)

// LocalMeter returns a meter for a stage that runs on this machine, found by the process id in its /health, or nil for
// any other target. A process id alone proves nothing, since a container counts its own: the process must hold the
// listening socket of the target's port.
func LocalMeter(ctx context.Context, target Target) Meter {
	if target.Health == nil {
		return nil
	}
	pid := target.Health.MasterPid
	port, loopback := loopbackPort(target.URL)
	if !loopback || !listens(ctx, pid, port) {
		return nil
	}
	return func(every time.Duration) *stage.Meter { return stage.Measure(pid, every) }
}

// loopbackPort returns the port of a URL that leads to this machine.
func loopbackPort(baseURL string) (port uint32, ok bool) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return 0, false
	}
	if addr, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !addr.IsLoopback()) {
		return 0, false
	}
	number, err := strconv.ParseUint(u.Port(), 10, 16)
	return uint32(number), err == nil
}

// listens says whether a process holds a listening TCP socket of that port. False also where the system does not tell.
func listens(ctx context.Context, pid int, port uint32) bool {
	sockets, err := net.ConnectionsPidWithContext(ctx, "tcp", int32(pid))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(sockets, func(socket net.ConnectionStat) bool {
		return socket.Status == "LISTEN" && socket.Laddr.Port == port
	})
}
