package attack

import "time"

// Class is what a client knows of a request.
type Class uint8

// The classes. A stage promises that what it Rejected or Failed was not placed
// and never will be; only Unknown leaves that open.
const (
	Accepted Class = iota // 201: a new order exists
	Replayed              // 200: the key had an order already
	Rejected              // 404, 409: a valid no
	Failed                // certainly not placed: other 4xx, 503, no connection
	Unknown               // may be placed: other 5xx, reset, end of file, time-out
	classes               // number of classes
)

// String returns the class's name as the result file spells it.
func (c Class) String() string {
	if c >= classes {
		return "invalid"
	}
	return [classes]string{"accepted", "replayed", "rejected", "failed", "unknown"}[c]
}

// Codes of requests that got no complete answer. A request that was answered has the
// "code" of its problem document, or "http_<status>" where it has none.
const (
	CodeConnectionRefused = "connection_refused" // failed: nobody listens
	CodeConnectFailed     = "connect_failed"     // failed: no connection for another reason
	CodeNotSent           = "not_sent"           // failed: the connection broke before the first byte
	CodeReset             = "reset"              // unknown: the peer reset the connection
	CodeEOF               = "eof"                // unknown: the peer closed it before the whole answer
	CodeClientTimeout     = "client_timeout"     // unknown: no answer within Config.ClientTimeout
	CodeInterrupted       = "interrupted"        // unknown: the run was stopped meanwhile
	CodeMalformed         = "malformed_response" // unknown: not HTTP
	CodeTooLarge          = "response_too_large" // unknown: more than 64 KiB
	CodeNetwork           = "network_error"      // unknown: any other error of the connection
)

// CodeOutOfStock is the problem code that ends a flash sale for a user.
const CodeOutOfStock = "out_of_stock"

// Outcome is one attempt and what came of it.
type Outcome struct {
	Key        [16]byte // the idempotency key; see KeyString
	UserID     int64
	ProductID  int64
	Quantity   int64
	Class      Class
	Status     int           // HTTP status; 0 where there was no complete answer
	Code       string        // why it was not accepted; empty for Accepted and Replayed
	OrderID    int64         // of the receipt; 0 where there is none
	TotalCents int64         // of the receipt
	SentAt     time.Duration // since Result.Start
	Waited     time.Duration // open model: from the moment when it was due to SentAt, in whole microseconds
	Latency    time.Duration // from SentAt to the answer, or to the moment it was given up
}

// EndedAt returns when the answer came, or the attempt was given up, since
// Result.Start.
func (o Outcome) EndedAt() time.Duration { return o.SentAt + o.Latency }

// Response returns the time that the buyer waited: from the moment when the request
// was due. In the closed model that is Latency.
func (o Outcome) Response() time.Duration { return o.Waited + o.Latency }

// DueAt returns when the request should have been sent, since Result.Start. In the
// closed model that is SentAt.
func (o Outcome) DueAt() time.Duration { return o.SentAt - o.Waited }
