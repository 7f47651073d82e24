package httpapi

import (
	"encoding/json"
	"testing"

	"example.com/flashsale/shop/order"
)

// FuzzDecodeOrder: whatever comes in, a body is refused with a kind that means
// 400, or it means what its canonical form means.
func FuzzDecodeOrder(f *testing.F) {
	for _, r := range refusals {
		f.Add([]byte(r.body))
	}
	for _, body := range []string{
		validBody, `{"user_id":1,"product_id":7,"quantity":1,"price_cents":1999}`,
		`{"user_id":1,"product_id":7,"quantity":1,"price_cents":null}`, `{"USER_ID":1,"Product_Id":7,"quantity":1}`,
		`{"user_id":1,"user_id":2,"product_id":7,"quantity":1}`, `{"user_id":-9223372036854775808}`, `{}`, "{\"user_id\":1\xff}",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := decodeOrder(body)
		if err != nil {
			if order.KindOf(err) != order.InvalidRequest {
				t.Fatalf("%v, want an InvalidRequest", err)
			}
			return
		}
		if req.PriceCents < 0 || req.Key != "" || req.ServerKey {
			t.Fatalf("decoded %+v", req)
		}
		canonical := map[string]int64{"user_id": req.UserID, "product_id": req.ProductID, "quantity": req.Quantity}
		if req.PriceCents != 0 {
			canonical["price_cents"] = req.PriceCents
		}
		again, err := json.Marshal(canonical)
		if err != nil {
			t.Fatal(err)
		}
		for _, same := range [][]byte{again, append(append([]byte(" "), body...), '\n')} {
			if got, err := decodeOrder(same); err != nil || got != req {
				t.Errorf("%q: %+v, %v, want %+v", same, got, err, req)
			}
		}
		for _, after := range []string{"{}", "x", "]", "0"} {
			if got, err := decodeOrder(append(append([]byte(nil), body...), after...)); err == nil {
				t.Errorf("%q after the body: %+v, want an error", after, got)
			}
		}
	})
}
