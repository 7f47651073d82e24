package capacity

import (
	"fmt"
	"math"
	"time"
)

// Defaults of Demand. Both are assumptions, and printed as such.
const (
	// DefaultRequestsPerUser is how many orders one user sends in a day: a busy one.
	DefaultRequestsPerUser = 10
	// DefaultPeakFactor is that of a day in which 80 % of the requests come in 20 % of the time: 0.8 / 0.2.
	DefaultPeakFactor = 4
)

const secondsPerDay = 24 * 60 * 60

// Demand says what one daily user asks of the service.
type Demand struct {
	RequestsPerUser float64 // per day
	PeakFactor      float64 // the rate of the busiest time ÷ the mean rate of the day
}

// Validate returns an error that says in one sentence what is wrong with the demand, or nil.
func (d Demand) Validate() error {
	switch {
	case !(d.RequestsPerUser > 0) || math.IsInf(d.RequestsPerUser, 1):
		return fmt.Errorf("%g requests per user and day: it must be positive", d.RequestsPerUser)
	case !(d.PeakFactor >= 1) || math.IsInf(d.PeakFactor, 1):
		return fmt.Errorf("peak factor %g: the busiest time cannot be below the mean", d.PeakFactor)
	}
	return nil
}

// Users returns how many daily users a rate per second is enough for.
func (d Demand) Users(rate float64) int64 {
	return int64(rate * secondsPerDay / (d.RequestsPerUser * d.PeakFactor))
}

// Formula returns the calculation of Users in one line.
func (d Demand) Formula(rate float64) string {
	return fmt.Sprintf("daily users = rate × 86,400 s ÷ (requests per user and day × peak factor) = %.1f/s × 86,400 s ÷ (%g × %g) = %d",
		rate, d.RequestsPerUser, d.PeakFactor, d.Users(rate))
}

// ProbeTime returns how long a rate must be measured so that count requests come, but not less than least and not more
// than most.
func ProbeTime(rate float64, count int, least, most time.Duration) time.Duration {
	need := time.Duration(float64(count) / rate * float64(time.Second)).Round(time.Second / 10)
	return min(max(need, least), most)
}
