package main

import (
	"io"
	"net/http"
	"time"
)

// The limits here are on standing still, not on the whole: a clone of an hour is fine,
// a client that neither sends nor takes a byte for the idle limit is not.

// movingBody gives every read of a request body the idle limit.
type movingBody struct {
	io.ReadCloser
	control *http.ResponseController
	idle    time.Duration
	bytes   int64
}

func (b *movingBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(b.idle))
	n, err := b.ReadCloser.Read(p)
	b.bytes += int64(n)
	if err != nil {
		// The body is over and git may now think for long. net/http goes on reading ahead, to
		// notice a client that leaves; an old deadline would look like one.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// movingAnswer gives every write of an answer the idle limit, and remembers it for the log.
type movingAnswer struct {
	http.ResponseWriter
	control *http.ResponseController
	idle    time.Duration
	status  int
	bytes   int64
}

func (a *movingAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write flushes, for git sends progress and signs of life that are worth nothing when they come late.
func (a *movingAnswer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	_ = a.control.SetWriteDeadline(time.Now().Add(a.idle))
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	if err == nil {
		err = a.control.Flush()
	}
	return n, err
}

// Unwrap lets http.ResponseController find the connection.
func (a *movingAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// tail keeps the end of what is written to it: there a program that fails says why.
type tail struct {
	kept []byte
}

const tailBytes = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if excess := len(t.kept) - tailBytes; excess > 0 {
		t.kept = append(t.kept[:0], t.kept[excess:]...)
	}
	return len(p), nil
}
