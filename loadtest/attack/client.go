package attack

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// restsAfter is how long a connection must have been idle before it is worth a system
// call to see whether the service has closed it meanwhile.
const restsAfter = 10 * time.Millisecond

// client sends one user's orders over one connection.
type client struct {
	conn     *conn
	request  request
	codes    *codeTable
	products []int64
	start    time.Time // of the run; set before the first send
	usedAt   time.Time // when the last answer came
}

// send makes exactly one attempt for rec's key and product, and fills in the rest
// of rec. It blocks until the answer is there or the attempt is given up. The
// result is false when ctx ended before anything was sent; then rec is no attempt.
func (c *client) send(ctx context.Context, rec *record) (answer, bool) {
	now := time.Now()
	rec.sentAt = now.Sub(c.start)
	ans := answer{retryAfter: noRetryAfter}
	if now.Sub(c.usedAt) > restsAfter && c.conn.closedByPeer() {
		c.conn.close() // nothing was sent on it: another one is opened, as any client would
	}
	if err := c.conn.open(ctx); err != nil {
		if ctx.Err() != nil {
			return ans, false
		}
		rec.class = Failed
		rec.code = c.codes.id([]byte(dialCode(err)))
		rec.latency = time.Since(c.start) - rec.sentAt
		return ans, true
	}
	c.request.setKey(rec.key)
	c.request.setProduct(c.products[rec.product])
	err := c.conn.begin(c.request.bytes, now)
	if err == nil {
		err = c.conn.await()
	}
	if err == nil {
		ans, err = readAnswer(c.conn, c.codes, rec)
	}
	c.usedAt = time.Now()
	rec.latency = c.usedAt.Sub(c.start) - rec.sentAt
	if err != nil {
		c.giveUp(rec, err)
	} else if ans.close {
		c.conn.close()
	}
	return ans, true
}

// giveUp records that no complete answer came, and drops the connection: whatever
// still arrives on it belongs to nobody.
func (c *client) giveUp(rec *record, err error) {
	class, code := c.conn.loss(err)
	if errors.Is(err, errAnswerTooLarge) {
		code = CodeTooLarge
	}
	rec.class, rec.code, rec.status = class, c.codes.id([]byte(code)), 0
	c.conn.close()
}

// dialCode returns the code for an error of opening a connection.
func dialCode(err error) string {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return CodeConnectionRefused
	}
	return CodeConnectFailed
}
