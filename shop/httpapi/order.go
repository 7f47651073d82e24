package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"example.com/flashsale/shop/order"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
)

const (
	keyHeader      = "Idempotency-Key"
	replayedHeader = "Idempotent-Replayed"
)

type orderRequest struct {
	UserID     int64  `json:"user_id"`
	ProductID  int64  `json:"product_id"`
	Quantity   int64  `json:"quantity"`
	PriceCents *int64 `json:"price_cents"`
}

type receiptJSON struct {
	OrderID    int64     `json:"order_id"`
	Status     string    `json:"status"`
	TotalCents int64     `json:"total_cents"`
	CreatedAt  time.Time `json:"created_at"`
}

func (a *API) postOrder(c echo.Context) error {
	start := time.Now()
	if a.cfg.Served != nil {
		defer a.cfg.Served()
	}
	// The writer below echo's: MaxBytesReader tells net/http through it to read
	// on for a moment, so that the client sees the 413 and not a reset.
	req, err := readOrder(c.Response().Writer, c.Request())
	if err != nil {
		a.seen.order(describe(err), start)
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), a.cfg.RequestTimeout)
	defer cancel()
	a.seen.inFlight.Inc()
	r, err := a.cfg.Placer.Place(ctx, req)
	a.seen.inFlight.Dec()
	if err != nil {
		a.seen.order(describe(err), start)
		return err
	}
	status := http.StatusCreated
	if r.Replayed {
		status = http.StatusOK
		c.Response().Header().Set(replayedHeader, "true")
		a.seen.count("replayed", start)
	} else {
		a.seen.count("accepted", start)
	}
	return c.JSON(status, receiptJSON{OrderID: r.OrderID, Status: r.Status, TotalCents: r.TotalCents, CreatedAt: r.CreatedAt})
}

// readOrder reads and checks one request. It reads at most maxBody bytes.
func readOrder(w http.ResponseWriter, r *http.Request) (order.Request, error) {
	if err := wantJSON(r); err != nil {
		return order.Request{}, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return order.Request{}, errBodyTooLarge
		}
		return order.Request{}, order.Invalid("the body could not be read")
	}
	req, err := decodeOrder(body)
	if err != nil {
		return req, err
	}
	if keys, sent := r.Header[keyHeader]; sent {
		if len(keys) != 1 {
			return req, order.Invalid("send one Idempotency-Key, not several")
		}
		req.Key = keys[0]
	} else {
		id, err := uuid.NewV7()
		if err != nil {
			return req, err
		}
		req.Key, req.ServerKey = id.String(), true
	}
	return req, req.Validate()
}

func wantJSON(r *http.Request) error {
	ct := r.Header.Get("Content-Type")
	if ct == "application/json" {
		return nil
	}
	if media, _, err := mime.ParseMediaType(ct); err != nil || media != "application/json" {
		return errNotJSON
	}
	return nil
}

// decodeOrder turns a body into a request without a key. A field that the
// contract does not know is an error: a buyer who misspells price_cents must
// not be sold something at another price.
func decodeOrder(body []byte) (order.Request, error) {
	var in orderRequest
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return order.Request{}, order.Invalid(explainJSON(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return order.Request{}, order.Invalid("the body must be one JSON object and nothing after it")
	}
	req := order.Request{UserID: in.UserID, ProductID: in.ProductID, Quantity: in.Quantity}
	if in.PriceCents != nil {
		if *in.PriceCents <= 0 {
			return req, order.Invalid("price_cents must be positive, or left out")
		}
		req.PriceCents = *in.PriceCents
	}
	return req, nil
}
