package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	spoolName  = ".undelivered" // no address leads there: those of repositories begin otherwise
	spoolLimit = 1000
	skipOption = "no-webhook" // git push -o no-webhook
	quietSpace = "refs/tekton-bootstrap/quiet/"
	linesLimit = 10 // that a pusher gets to read
)

// webhookSettings: without a url nobody is told of a push.
type webhookSettings struct {
	url        string        // WEBHOOK_URL
	secretFile string        // WEBHOOK_SECRET_FILE: read anew for each delivery
	cloneBase  string        // CLONE_URL: the address of a repository, as a run is to clone it, up to /NAME.git
	tryLimit   time.Duration // WEBHOOK_TRY_LIMIT: for the answer to one delivery
	ageLimit   time.Duration // WEBHOOK_AGE_LIMIT: how long a delivery that does not arrive is tried again
	patience   time.Duration // how long a push waits to hear what became of its deliveries
	firstPause time.Duration // before a delivery is tried again; doubled each time, up to lastPause
	lastPause  time.Duration
}

// webhook tells a listener of every push: signed, and again until it arrives.
type webhook struct {
	settings webhookSettings
	root     string
	log      *slog.Logger
	client   *http.Client
	spool    spool
	sending  sync.Mutex           // one delivery at a time, in the order in which they were made
	first    map[string]time.Time // file of the spool -> when this process first tried; guarded by sending
	failed   chan struct{}        // something in the spool wants to be tried again
}

func newWebhook(settings webhookSettings, root string, log *slog.Logger) (*webhook, error) {
	kept, err := openSpool(filepath.Join(root, spoolName), spoolLimit)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Timeout: settings.tryLimit,
		// A new connection for each: the listener may be another pod than a minute ago. No proxy: it is near.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	failed := make(chan struct{}, 1)
	return &webhook{settings: settings, root: root, log: log, client: client, spool: kept,
		first: map[string]time.Time{}, failed: failed}, nil
}

// tell sends the news of a push, and writes to the pusher what became of it, but does not wait long for that.
func (h *webhook) tell(push pushed, pusher io.Writer) {
	limit := time.After(h.settings.patience)
	if slices.Contains(push.Options, skipOption) {
		h.noteQuiet(push)
		_, _ = fmt.Fprintf(pusher, "no webhook is sent: push option %s\n", skipOption)
		return
	}
	say := &speaker{pusher: pusher}
	defer say.end()
	var waiting []parcel
	branches, others := parseChanges(push.Changes)
	if others > 0 {
		say.line("no webhook is sent for tags and deleted branches (%d): only commits of branches start runs", others)
	}
	for _, c := range branches {
		p, err := h.keep(push, c)
		if err != nil {
			lost := delivery{Repository: push.Repository, Ref: clean(c.ref, refLimit), Commit: c.after}
			h.record(lost, result{fault: err.Error()})
			say.line("%s: no webhook is sent: %v", c, err)
			continue
		}
		waiting = append(waiting, p)
	}
	results := make(chan result, len(waiting))
	go func() {
		for _, p := range waiting {
			results <- h.deliver(p.name)
		}
	}()
	late := false
	for _, p := range waiting {
		var found result
		if !late {
			select {
			case found = <-results:
			case <-limit:
				late = true
			}
		}
		say.line("%s", h.telling(p, found, late))
	}
}

// noteQuiet keeps, as references, the commits that are to start no run: whoever compares the heads of branches with runs
// (CronJob reconciler) reads them there.
func (h *webhook) noteQuiet(push pushed) {
	branches, _ := parseChanges(push.Changes)
	dir := repositoryPath(h.root, push.Repository)
	for _, c := range branches {
		ref := quietSpace + strings.TrimPrefix(c.ref, "refs/heads/")
		if _, err := git(context.Background(), "-C", dir, "update-ref", ref, c.after); err != nil {
			h.log.Error("a push without webhook is not noted", "repository", push.Repository, "ref", c.ref, "error", err.Error())
		}
	}
}

// parcel is a delivery of a push that is kept in the spool.
type parcel struct {
	change
	id, name string
}

func (h *webhook) keep(push pushed, c change) (parcel, error) {
	made, err := newDelivery(h.root, h.settings.cloneBase, push, c)
	if err != nil {
		return parcel{}, err
	}
	name, err := h.spool.put(made)
	return parcel{c, made.ID, name}, err
}

func (h *webhook) telling(p parcel, found result, late bool) string {
	switch {
	case late:
		return fmt.Sprintf("%s: the listener has not answered yet · delivery %s", p, p.id)
	case found.fault == "":
		return fmt.Sprintf("%s: webhook sent · delivery %s", p, p.id)
	case found.again:
		return fmt.Sprintf("%s: webhook not sent yet, tried again for %s: %s · delivery %s",
			p, short(h.settings.ageLimit), found.fault, p.id)
	}
	return fmt.Sprintf("%s: webhook refused: %s · delivery %s", p, found.fault, p.id)
}

// short is "1h" for "1h0m0s".
func short(d time.Duration) string {
	text := d.String()
	for _, end := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, end) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// speaker writes lines to a pusher, the first ones in full and the others as a number.
type speaker struct {
	pusher io.Writer
	lines  int
}

func (s *speaker) line(format string, args ...any) {
	if s.lines++; s.lines <= linesLimit {
		_, _ = fmt.Fprintf(s.pusher, format+"\n", args...)
	}
}

func (s *speaker) end() {
	if more := s.lines - linesLimit; more > 0 {
		_, _ = fmt.Fprintf(s.pusher, "and %d more\n", more)
	}
}

// result of one attempt. fault: "" when the listener took it. again: the fault may pass, so it stays in the spool.
// status: of the listener's answer, 0 without one. eventID: the name that the listener gave it.
type result struct {
	status  int
	eventID string
	fault   string
	again   bool
}

// run tries again what has not arrived, until ctx ends.
func (h *webhook) run(ctx context.Context) {
	pause := h.settings.firstPause
	for {
		names := h.spool.names()
		if len(names) == 0 {
			pause = h.settings.firstPause
			select {
			case <-ctx.Done():
				return
			case <-h.failed:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, h.settings.lastPause)
		for _, name := range h.spool.names() {
			found := h.deliver(name)
			if found.again && found.status == 0 {
				break // nobody is there: the others would wait in vain
			}
			if found.fault == "" {
				pause = h.settings.firstPause
			}
		}
	}
}

// deliver sends a delivery of the spool once, and takes it out if that was the last attempt.
func (h *webhook) deliver(name string) result {
	h.sending.Lock()
	defer h.sending.Unlock()
	d, err := h.spool.get(name)
	if errors.Is(err, os.ErrNotExist) {
		return result{} // it has arrived meanwhile
	}
	if err != nil {
		h.log.Error("an undelivered webhook cannot be read", "file", name, "error", err.Error())
		_ = h.spool.remove(name)
		return result{fault: err.Error()}
	}
	// Its age counts from the first attempt of this process, by a clock that stands still while the machine sleeps or is
	// off: a push of the evening before is still to arrive after a night.
	if _, tried := h.first[name]; !tried {
		h.first[name] = time.Now()
	}
	found := h.send(d)
	if found.again && time.Since(h.first[name]) > h.settings.ageLimit {
		found.again = false
		found.fault += fmt.Sprintf("; given up after %s", short(h.settings.ageLimit))
	}
	h.record(d, found)
	if found.again {
		select {
		case h.failed <- struct{}{}:
		default:
		}
		return found
	}
	delete(h.first, name)
	if err := h.spool.remove(name); err != nil {
		h.log.Error("a delivered webhook stays in the spool", "file", name, "error", err.Error())
	}
	return found
}

// record writes the one line by which a delivery is found again.
func (h *webhook) record(d delivery, found result) {
	level := slog.LevelInfo
	if found.fault != "" {
		level = slog.LevelWarn
	}
	h.log.Log(context.Background(), level, "webhook", "id", d.ID, "repository", d.Repository, "ref", d.Ref,
		"commit", d.Commit, "status", found.status, "eventID", found.eventID, "error", found.fault)
}

func (h *webhook) send(d delivery) result {
	secret, err := readLine(h.settings.secretFile)
	if err == nil && secret == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return result{fault: "the secret cannot be read: " + err.Error(), again: true}
	}
	request, err := http.NewRequest(http.MethodPost, h.settings.url, bytes.NewReader(d.Body))
	if err != nil {
		return result{fault: err.Error()}
	}
	for name, value := range map[string]string{
		"Content-Type":        "application/json",
		"User-Agent":          "git-server",
		"X-GitHub-Event":      "push",
		"X-GitHub-Delivery":   d.ID,
		"X-Hub-Signature-256": signature(d.Body, secret),
	} {
		request.Header.Set(name, value)
	}
	response, err := h.client.Do(request)
	if err != nil {
		return result{fault: cause(err), again: true}
	}
	defer response.Body.Close()
	found := result{status: response.StatusCode}
	if found.status/100 == 2 {
		found.eventID = eventID(response.Body)
		return found
	}
	found.fault = "the listener answers " + response.Status
	found.again = found.status >= 500 || found.status == http.StatusTooManyRequests
	return found
}

func signature(body []byte, secret string) string {
	sum := hmac.New(sha256.New, []byte(secret))
	_, _ = sum.Write(body)
	return "sha256=" + hex.EncodeToString(sum.Sum(nil))
}

func eventID(answer io.Reader) string {
	var found struct {
		EventID string `json:"eventID"`
	}
	_ = json.NewDecoder(io.LimitReader(answer, 64<<10)).Decode(&found)
	return clean(found.EventID, nameLimit)
}

// cause is what went wrong, without the method and the address that net/http puts before it.
func cause(err error) string {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err.Error()
}
