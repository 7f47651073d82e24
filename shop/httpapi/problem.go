package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"

	"example.com/flashsale/shop/order"

	"github.com/labstack/echo/v4"
)

// problem is RFC 9457's problem detail, with the stable code of the contract.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
}

// statusOf is the one table from error kind to HTTP status.
var statusOf = map[order.Kind]int{
	order.InvalidRequest:      http.StatusBadRequest,
	order.UserNotFound:        http.StatusNotFound,
	order.ProductNotFound:     http.StatusNotFound,
	order.OrderNotFound:       http.StatusNotFound,
	order.OutOfStock:          http.StatusConflict,
	order.PriceChanged:        http.StatusConflict,
	order.IdempotencyConflict: http.StatusConflict,
	order.Overloaded:          http.StatusServiceUnavailable,
	order.Timeout:             http.StatusGatewayTimeout,
}

// retryAfterSeconds is sent with 503.
const retryAfterSeconds = "1"

// What only HTTP knows.
var (
	errBodyTooLarge = echo.NewHTTPError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body must be at most %d bytes", maxBody))
	errNotJSON      = echo.NewHTTPError(http.StatusUnsupportedMediaType, "send Content-Type: application/json")
)

// fail answers an error. Only the detail of an *order.Error reaches the buyer;
// its cause goes to the log.
func (a *API) fail(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := describe(err)
	switch {
	case p.Status >= http.StatusInternalServerError && p.Status != http.StatusServiceUnavailable:
		a.cfg.Log.Error("request failed", "method", c.Request().Method, "path", c.Request().URL.Path, "status", p.Status, "error", err)
	case p.Status == http.StatusServiceUnavailable:
		c.Response().Header().Set("Retry-After", retryAfterSeconds)
	}
	c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
	c.Response().WriteHeader(p.Status)
	if c.Request().Method == http.MethodHead {
		return
	}
	if err := json.NewEncoder(c.Response()).Encode(p); err != nil {
		a.cfg.Log.Debug("answer not written", "error", err)
	}
}

func describe(err error) problem {
	var he *echo.HTTPError
	if errors.As(err, &he) {
		return problem{Type: "about:blank", Title: http.StatusText(he.Code), Status: he.Code, Code: httpCode(he.Code), Detail: httpDetail(he)}
	}
	kind := order.KindOf(err)
	status, ok := statusOf[kind]
	if !ok {
		kind, status = order.Internal, http.StatusInternalServerError
	}
	p := problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: kind.String()}
	var oe *order.Error
	if kind != order.Internal && errors.As(err, &oe) {
		p.Detail = oe.Detail
	}
	return p
}

// httpCode returns the code of an error that HTTP itself found.
func httpCode(status int) string {
	switch status {
	case http.StatusRequestEntityTooLarge:
		return "body_too_large"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type"
	case http.StatusNotFound:
		return "route_not_found"
	case http.StatusMethodNotAllowed:
		return "method_not_allowed"
	default:
		return "invalid_request"
	}
}

func httpDetail(he *echo.HTTPError) string {
	switch he.Code {
	case http.StatusNotFound:
		return "there is no such route; GET /openapi.yaml lists them"
	case http.StatusMethodNotAllowed:
		return "this route does not take this method"
	}
	detail, _ := he.Message.(string)
	return detail
}

// explainJSON says what is wrong with a body, in the words of JSON and not of
// Go.
func explainJSON(err error) string {
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return fmt.Sprintf("%s must be a whole number, not %s", wrongType.Field, wrongType.Value)
	case errors.As(err, &wrongType):
		return "the body must be a JSON object, not " + wrongType.Value
	case errors.As(err, &syntax):
		return fmt.Sprintf("the body is not JSON: %s at byte %d", syntax.Error(), syntax.Offset)
	case errors.Is(err, io.EOF):
		return "the body is empty"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the body is not JSON: it ends too early"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// crash ends the process after a panic, with the stack in the log. A master
// starts a new one. http.ErrAbortHandler is not a bug and goes on.
func (a *API) crash() {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	a.cfg.Log.Error("panic, this process ends", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	os.Exit(2)
}
