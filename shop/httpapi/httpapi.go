// Package httpapi is the HTTP contract: routes, wire types and the one table
// from error kind to status. openapi.yaml beside it describes the same and is
// served at /openapi.yaml.
package httpapi

import (
	"context"
	_ "embed"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/flashsale/shop/order"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 16 << 10

//go:embed openapi.yaml
var openAPI []byte

// Placer places an order. Each stage's model implements it. Place blocks until
// the outcome is known; its errors are *order.Error.
type Placer interface {
	Place(ctx context.Context, req order.Request) (order.Receipt, error)
}

// Reader reads what orders and products are now, and says whether the database
// answers.
type Reader interface {
	Order(ctx context.Context, id int64) (order.Order, error)
	Product(ctx context.Context, id int64) (order.Product, error)
	Ping(ctx context.Context) error
}

// Info is what a stage says of itself in /health.
type Info struct {
	Stage         string  `json:"stage"`
	Version       string  `json:"version"`        // of the program of this process
	MasterVersion string  `json:"master_version"` // of the master's
	Guard         string  `json:"guard"`
	Expected      string  `json:"expected"`
	PID           int     `json:"pid"`
	MasterPID     int     `json:"master_pid"`
	Processes     int     `json:"processes"`
	Workers       int     `json:"workers"`
	DBConns       int     `json:"db_conns"`
	QueueCap      int     `json:"queue_cap"`
	UserLatencyMS float64 `json:"user_latency_ms"`
}

// Config is what the API stands on.
type Config struct {
	Placer         Placer
	Reader         Reader
	Info           Info
	RequestTimeout time.Duration
	// Metrics is where the API registers its figures.
	Metrics *prometheus.Registry
	// Gatherer is what /metrics shows; nil: Metrics.
	Gatherer prometheus.Gatherer
	Log      *slog.Logger
	// Served, where given, is called once for every request for an order.
	Served func()
	// Started, where given, says whether all processes of the stage serve.
	Started func() bool
	// Processes, where given, is how many of them there should be now.
	Processes func() int
	// Workers, where given, lists them.
	Workers func() []Worker
}

// Worker is one of several worker processes, in /health.
type Worker struct {
	Slot       int      `json:"slot"`
	PID        int      `json:"pid"`
	State      string   `json:"state"`
	AgeSeconds float64  `json:"age_seconds"`
	BootMS     *float64 `json:"boot_ms"`    // from its start until it served; nil: it does not yet
	Requests   uint64   `json:"requests"`   // as of its last heartbeat
	Generation int      `json:"generation"` // reloads before it was started
}

// API is the handler of all routes.
type API struct {
	cfg      Config
	echo     *echo.Echo
	draining atomic.Bool
	seen     meters
}

// New returns the handler. It registers its metrics with cfg.Metrics.
func New(cfg Config) *API {
	a := &API{cfg: cfg, echo: echo.New(), seen: newMeters(cfg.Metrics)}
	e := a.echo
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(discard{})
	e.HTTPErrorHandler = a.fail
	e.POST("/orders", a.postOrder)
	e.GET("/orders/:id", a.getOrder)
	e.GET("/products/:id", a.getProduct)
	e.GET("/health", a.getHealth)
	e.GET("/ready", a.getReady)
	e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(cfg.gatherer(), promhttp.HandlerOpts{})))
	e.GET("/openapi.yaml", func(c echo.Context) error {
		return c.Blob(http.StatusOK, "application/yaml", openAPI)
	})
	return a
}

func (c Config) gatherer() prometheus.Gatherer {
	if c.Gatherer != nil {
		return c.Gatherer
	}
	return c.Metrics
}

// discard silences echo's own logger; what is worth logging goes through slog.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// ServeHTTP answers one request. A panic ends the process: net/http would
// swallow it, and a broken process must not go on selling.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer a.crash()
	a.echo.ServeHTTP(w, r)
}

// Drain makes /ready answer 503, so that no new buyers are sent here.
func (a *API) Drain() { a.draining.Store(true) }

func (a *API) getHealth(c echo.Context) error {
	info := a.cfg.Info
	if a.cfg.Processes != nil {
		info.Processes = a.cfg.Processes()
	}
	var workers []Worker
	if a.cfg.Workers != nil {
		workers = a.cfg.Workers()
	}
	return c.JSON(http.StatusOK, struct {
		Status string `json:"status"`
		Info
		Goroutines int      `json:"goroutines"`
		CPUs       int      `json:"cpus"`
		GoVersion  string   `json:"go_version"`
		Workers    []Worker `json:"worker_processes,omitempty"`
	}{"ok", info, runtime.NumGoroutine(), runtime.NumCPU(), runtime.Version(), workers})
}

func (a *API) getReady(c echo.Context) error {
	if a.draining.Load() {
		return order.Overload("this process is stopping")
	}
	if a.cfg.Started != nil && !a.cfg.Started() {
		return order.Overload("some workers are still starting")
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), a.cfg.RequestTimeout)
	defer cancel()
	if err := a.cfg.Reader.Ping(ctx); err != nil {
		return &order.Error{Kind: order.Overloaded, Detail: "the database does not answer", Op: "ready", Err: err}
	}
	return c.JSON(http.StatusOK, map[string]string{"status": "ready"})
}

type productJSON struct {
	ID         int64  `json:"id"`
	Name       string `json:"name"`
	PriceCents int64  `json:"price_cents"`
	Stock      int64  `json:"stock"`
}

func (a *API) getProduct(c echo.Context) error {
	id, err := pathID(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), a.cfg.RequestTimeout)
	defer cancel()
	p, err := a.cfg.Reader.Product(ctx, id)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, productJSON(p))
}

type orderJSON struct {
	ID         int64     `json:"order_id"`
	UserID     int64     `json:"user_id"`
	ProductID  int64     `json:"product_id"`
	Quantity   int64     `json:"quantity"`
	TotalCents int64     `json:"total_cents"`
	Status     string    `json:"status"`
	CreatedAt  time.Time `json:"created_at"`
}

func (a *API) getOrder(c echo.Context) error {
	id, err := pathID(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), a.cfg.RequestTimeout)
	defer cancel()
	o, err := a.cfg.Reader.Order(ctx, id)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, orderJSON(o))
}

func pathID(c echo.Context) (int64, error) {
	if strings.Contains(c.Param("id"), "/") { // echo's last parameter takes the rest of the path
		return 0, echo.ErrNotFound
	}
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil || id <= 0 {
		return 0, order.Invalid("the id in the path must be a positive whole number")
	}
	return id, nil
}
