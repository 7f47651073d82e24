package runner

import (
	"context"

	"example.com/flashsale/loadtest/attack"
	"example.com/flashsale/loadtest/fleet"
)

// drive is attack.Run, in several processes where one may not open a connection for each user.
func drive(ctx context.Context, cfg attack.Config) (*attack.Result, error) {
	if n := fleet.Processes(cfg.Users, fleet.FileLimit()); n > 1 {
		return fleet.Run(ctx, cfg, n, fleet.Self)
	}
	return attack.Run(ctx, cfg)
}
