package attack

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
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

// readBufferSize bounds the head of an answer.
const readBufferSize = 4 << 10

// answerReader reads answers, one after another, and reuses its memory.
type answerReader struct {
	in     *bufio.Reader
	resp   fasthttp.Response
	parser fastjson.Parser
}

func newAnswerReader() *answerReader {
	return &answerReader{in: bufio.NewReaderSize(nil, readBufferSize)}
}

// answerReaders are shared by all users: most of them wait, and one is needed only from the first byte of an answer to
// its last.
var answerReaders = sync.Pool{New: func() any { return newAnswerReader() }}

// errAnswerTooLarge means that the body was above maxResponseBody.
var errAnswerTooLarge = errors.New("answer too large")

// answer is what a complete answer says beside what goes into the record.
type answer struct {
	retryAfter time.Duration // noRetryAfter where it names none
	close      bool          // the connection cannot be used again
}

// readAnswer reads the answer that has begun to arrive.
func readAnswer(from io.Reader, codes *codeTable, rec *record) (answer, error) {
	a := answerReaders.Get().(*answerReader)
	defer answerReaders.Put(a)
	return a.read(from, codes, rec)
}

// read reads one answer and fills in class, status, code and receipt of rec.
func (a *answerReader) read(from io.Reader, codes *codeTable, rec *record) (answer, error) {
	ans := answer{retryAfter: noRetryAfter}
	a.in.Reset(from)
	defer a.in.Reset(nil)
	err := a.resp.ReadLimitBody(a.in, maxResponseBody)
	if errors.Is(err, fasthttp.ErrBodyTooLarge) {
		return ans, errAnswerTooLarge
	}
	if err != nil {
		return ans, err
	}
	status := a.resp.StatusCode()
	rec.status = uint16(status)
	rec.class = classify(status)
	// When more than an answer came, the next one could not be told from it.
	ans.close = a.resp.ConnectionClose() || a.in.Buffered() > 0
	switch rec.class {
	case Accepted, Replayed:
		a.readReceipt(rec)
	default:
		rec.code = a.readCode(status, codes)
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
func (a *answerReader) readCode(status int, codes *codeTable) codeID {
	if doc, err := a.parser.ParseBytes(a.resp.Body()); err == nil {
		if code := doc.GetStringBytes("code"); len(code) > 0 && len(code) <= maxCodeLen {
			return codes.id(code)
		}
	}
	return codes.id(strconv.AppendInt([]byte("http_"), int64(status), 10))
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
