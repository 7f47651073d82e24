package attack

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fastjson"
)

// maxResponseBody bounds the body of an answer.
const maxResponseBody = 64 << 10

// maxCodeLen bounds a problem's code.
const maxCodeLen = 64

// noRetryAfter is the back-off asked for by an answer that does not name any.
const noRetryAfter = -1

// answerReader reads the answers of one user's connection and reuses its memory.
type answerReader struct {
	resp   fasthttp.Response
	parser fastjson.Parser
	codes  *codeTable
}

// errAnswerTooLarge means that the body was above maxResponseBody.
var errAnswerTooLarge = errors.New("answer too large")

// answer is what a complete answer says beside what goes into the record.
type answer struct {
	retryAfter time.Duration // noRetryAfter where it names none
	close      bool          // the service will close the connection
}

// read reads one answer and fills in class, status, code and receipt of rec.
func (a *answerReader) read(c *conn, rec *record) (answer, error) {
	ans := answer{retryAfter: noRetryAfter}
	err := a.resp.ReadLimitBody(c.reader, maxResponseBody)
	if errors.Is(err, fasthttp.ErrBodyTooLarge) {
		return ans, errAnswerTooLarge
	}
	if err != nil {
		return ans, err
	}
	status := a.resp.StatusCode()
	rec.status = uint16(status)
	rec.class = classify(status)
	ans.close = a.resp.ConnectionClose()
	switch rec.class {
	case Accepted, Replayed:
		a.readReceipt(rec)
	default:
		rec.code = a.readCode(status)
		if status == fasthttp.StatusServiceUnavailable || status == fasthttp.StatusTooManyRequests {
			ans.retryAfter = parseRetryAfter(a.resp.Header.Peek(fasthttp.HeaderRetryAfter))
		}
	}
	return ans, nil
}

// readReceipt takes order_id and total_cents from the body; a receipt that cannot
// be read leaves them 0, which the audit finds.
func (a *answerReader) readReceipt(rec *record) {
	doc, err := a.parser.ParseBytes(a.resp.Body())
	if err != nil {
		return
	}
	rec.orderID = doc.GetInt64("order_id")
	rec.totalCents = doc.GetInt64("total_cents")
}

// readCode returns the number of the problem's code, or of "http_<status>".
func (a *answerReader) readCode(status int) codeID {
	if doc, err := a.parser.ParseBytes(a.resp.Body()); err == nil {
		if code := doc.GetStringBytes("code"); len(code) > 0 && len(code) <= maxCodeLen {
			return a.codes.id(code)
		}
	}
	return a.codes.id(strconv.AppendInt([]byte("http_"), int64(status), 10))
}

// classify returns what a status tells about the order. A 4xx promises that
// nothing was or will be placed, and so does a 503; of the rest only 200 and 201
// are certain.
func classify(status int) Class {
	switch {
	case status == fasthttp.StatusCreated:
		return Accepted
	case status == fasthttp.StatusOK:
		return Replayed
	case status == fasthttp.StatusNotFound, status == fasthttp.StatusConflict:
		return Rejected
	case status >= 400 && status < 500, status == fasthttp.StatusServiceUnavailable:
		return Failed
	}
	return Unknown
}

// parseRetryAfter reads whole seconds; a date counts as none (RFC 9110, 10.2.3).
func parseRetryAfter(value []byte) time.Duration {
	seconds, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
	if err != nil {
		return noRetryAfter
	}
	return time.Duration(seconds) * time.Second
}
