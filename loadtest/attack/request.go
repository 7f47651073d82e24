package attack

import (
	"bytes"
	"fmt"
	"strconv"
)

// request is the bytes of a user's next order. Head and body are laid out once;
// from one order to the next only the key's 36 characters and the product's number
// change, in place: the number is padded with blanks, which JSON allows before a
// value, so that Content-Length never changes.
type request struct {
	bytes       []byte
	keyAt       int
	productAt   int
	productSize int
}

// newRequest lays out the orders of one user. widest is the largest product id.
func newRequest(t target, o Order, widest int64) request {
	size := len(strconv.FormatInt(widest, 10))
	key := bytes.Repeat([]byte{'0'}, keyLen)
	product := bytes.Repeat([]byte{' '}, size)

	before := fmt.Sprintf(`{"user_id":%d,"product_id":`, o.UserID)
	after := fmt.Sprintf(`,"quantity":%d}`, o.Quantity)
	if o.PriceCents > 0 {
		after = fmt.Sprintf(`,"quantity":%d,"price_cents":%d}`, o.Quantity, o.PriceCents)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\n", t.path, t.host)
	b.WriteString("Content-Type: application/json\r\n")
	fmt.Fprintf(&b, "Content-Length: %d\r\n", len(before)+size+len(after))
	b.WriteString("Idempotency-Key: ")
	r := request{keyAt: b.Len(), productSize: size}
	b.Write(key)
	b.WriteString("\r\n\r\n" + before)
	r.productAt = b.Len()
	b.Write(product)
	b.WriteString(after)
	r.bytes = b.Bytes()
	r.setProduct(o.ProductID)
	return r
}

// setKey puts the next order's key in place.
func (r *request) setKey(key [16]byte) { putKey(r.bytes[r.keyAt:], key) }

// setProduct puts the next order's product in place; id must not be above the
// widest one that the request was laid out for.
func (r *request) setProduct(id int64) {
	field := r.bytes[r.productAt : r.productAt+r.productSize]
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], id, 10)
	pad := len(field) - len(text)
	for i := range pad {
		field[i] = ' '
	}
	copy(field[pad:], text)
}
