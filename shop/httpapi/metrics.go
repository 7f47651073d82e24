package httpapi

import (
	"net/http"
	"time"

	"example.com/flashsale/shop/order"

	"github.com/prometheus/client_golang/prometheus"
)

// meters are the figures of orders. Their children are looked up once, so that
// counting an order takes no lock.
type meters struct {
	inFlight prometheus.Gauge
	orders   map[string]prometheus.Counter
	seconds  map[string]prometheus.Observer
}

// outcomes are the values of the label "outcome".
var outcomes = []string{
	"accepted", "replayed", "invalid_request", "user_not_found", "product_not_found", "out_of_stock", "price_changed",
	"idempotency_conflict", "overloaded", "timeout", "internal",
}

func newMeters(reg prometheus.Registerer) meters {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flashsale_orders_total",
		Help: "Requests for an order, by outcome.",
	}, []string{"outcome"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "flashsale_order_seconds",
		Help:    "Time from the first byte of a request for an order to its outcome.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"outcome"})
	m := meters{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flashsale_orders_in_flight",
			Help: "Orders that wait or are being executed.",
		}),
		orders:  make(map[string]prometheus.Counter, len(outcomes)),
		seconds: make(map[string]prometheus.Observer, len(outcomes)),
	}
	reg.MustRegister(count, seconds, m.inFlight)
	for _, o := range outcomes {
		m.orders[o] = count.WithLabelValues(o)
		m.seconds[o] = seconds.WithLabelValues(o)
	}
	return m
}

// order counts one request that was answered with a problem. What only HTTP
// found wrong with it is an invalid request like any other.
func (m meters) order(p problem, start time.Time) {
	switch _, known := m.orders[p.Code]; {
	case known:
		m.count(p.Code, start)
	case p.Status == http.StatusRequestEntityTooLarge, p.Status == http.StatusUnsupportedMediaType:
		m.count(order.InvalidRequest.String(), start)
	default:
		m.count(order.Internal.String(), start)
	}
}

// count counts one request with a known outcome.
func (m meters) count(outcome string, start time.Time) {
	m.orders[outcome].Inc()
	m.seconds[outcome].Observe(time.Since(start).Seconds())
}
