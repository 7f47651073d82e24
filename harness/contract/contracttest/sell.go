package contracttest

import (
	"net/http"
	"strconv"
	"time"
)

// sell places an order and answers.
func (s *Shop) sell(w http.ResponseWriter, req request, key string) {
	if key == "" && s.is("keyless") {
		key = req.text()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key != "" && !s.is("replay-sold-out") && s.replay(w, req, key) {
		return
	}
	late := s.is("one-key") || s.is("one-key-last-unit")
	if late {
		s.leaveOpen()
	}
	if status, code := s.refusal(req, key); status != 0 {
		if _, bound := s.refused[key]; !bound {
			s.refused[key] = req.text()
		}
		if s.is("takes-nothing") && code == "price_changed" {
			s.products[req.ProductID-1].stock--
		}
		s.problem(w, status, code)
		return
	}
	if key != "" && (s.is("one-key-last-unit") || s.is("replay-sold-out")) && s.replay(w, req, key) {
		return
	}
	p := s.products[req.ProductID-1]
	left := p.stock - req.Quantity
	s.orders = append(s.orders, order{req, time.Now()})
	id := len(s.orders)
	if key == "" {
		key = "order " + strconv.Itoa(id)
	}
	s.byKey[key] = id - 1
	if s.is("last-unit") && (p.initial == 1 || p.initial == 7) {
		s.leaveOpen() // the stock was read and is written later
	}
	p.stock = left
	body := receipt(int64(id), s.orders[id-1])
	if s.is("order") {
		body["total_cents"] = price
	}
	answer(w, http.StatusCreated, body)
}

// leaveOpen lets others in for a while.
func (s *Shop) leaveOpen() {
	s.mu.Unlock()
	<-time.After(overlap)
	s.mu.Lock()
}

// replay answers from the order that the key has; false: there is none.
func (s *Shop) replay(w http.ResponseWriter, req request, key string) bool {
	at, ok := s.byKey[key]
	if !ok {
		return false
	}
	if s.orders[at].text() != req.text() && !s.is("key-conflict") {
		s.problem(w, http.StatusConflict, "idempotency_conflict")
		return true
	}
	if !s.is("replay") {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	answer(w, http.StatusOK, receipt(int64(at+1), s.orders[at]))
	return true
}

// refusal returns status and code of the answer to an order that is not accepted, or 0.
func (s *Shop) refusal(req request, key string) (status int, code string) {
	if text, bound := s.refused[key]; bound && s.is("refused-key") && key != "" && text != req.text() {
		return http.StatusConflict, "idempotency_conflict"
	}
	if req.UserID > users && !s.is("unknown-user") {
		return http.StatusNotFound, "user_not_found"
	}
	if req.ProductID > int64(len(s.products)) {
		if s.is("unknown-product") {
			return http.StatusBadRequest, "invalid_request"
		}
		return http.StatusNotFound, "product_not_found"
	}
	if req.PriceCents != nil && (*req.PriceCents != price && !s.is("price-changed") || s.is("right-price")) {
		return http.StatusConflict, "price_changed"
	}
	stock := s.products[req.ProductID-1].stock
	switch {
	case s.is("flash-sale") && stock > 0 && stock < 5:
		return 0, ""
	case stock >= req.Quantity:
		return 0, ""
	case stock > 0 && s.is("more-than-stock"):
		return http.StatusBadRequest, "invalid_request"
	case stock <= 0 && s.is("sold-out"):
		return http.StatusNotFound, "product_not_found"
	}
	return http.StatusConflict, "out_of_stock"
}

func receipt(id int64, o order) map[string]any {
	return map[string]any{"order_id": id, "status": "created", "total_cents": o.Quantity * price, "created_at": o.at}
}
