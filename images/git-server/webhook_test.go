package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

const testSecret = "shared secret"

// heard is one request at the listener.
type heard struct {
	header http.Header
	body   []byte
	event  pushEvent
}

func (h heard) id() string { return h.header.Get("X-GitHub-Delivery") }

// hearer is a listener that keeps what it hears. answer: the status for the number-th request, from 0.
type hearer struct {
	t      *testing.T
	mutex  sync.Mutex
	seen   []heard
	answer func(number int) int
}

func accept(int) int { return http.StatusAccepted }

func (l *hearer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	one := heard{header: r.Header}
	one.body, _ = io.ReadAll(r.Body)
	if err := json.Unmarshal(one.body, &one.event); err != nil || !utf8.Valid(one.body) {
		l.t.Errorf("not a push event: %v: %q", err, one.body)
	}
	l.mutex.Lock()
	number := len(l.seen)
	l.seen = append(l.seen, one)
	l.mutex.Unlock()
	w.WriteHeader(l.answer(number))
	_, _ = fmt.Fprintf(w, `{"eventListener":"demo","eventID":"event-%d"}`, number)
}

func (l *hearer) all() []heard {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Clone(l.seen)
}

// await waits for at least so many, and gives back all.
func (l *hearer) await(number int) []heard {
	l.t.Helper()
	await(l.t, fmt.Sprintf("%d deliveries", number), func() bool { return len(l.all()) >= number })
	return l.all()
}

func listen(t *testing.T, answer func(int) int) (*hearer, string) {
	t.Helper()
	l := &hearer{t: t, answer: answer}
	web := httptest.NewServer(l)
	t.Cleanup(web.Close)
	return l, web.URL
}

// telling is a server that tells the listener at url, impatient and quick to try again.
func telling(t *testing.T, url string, edits ...func(*settings)) *fixture {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	setSecret(t, file, testSecret)
	return start(t, func(cfg *settings) {
		cfg.webhook.url, cfg.webhook.secretFile, cfg.webhook.cloneBase = url, file, "http://git.cluster"
		cfg.webhook.firstPause, cfg.webhook.lastPause = 10*time.Millisecond, 50*time.Millisecond
		for _, edit := range edits {
			edit(cfg)
		}
	})
}

func setSecret(t *testing.T, file, secret string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
}

// waiting are the deliveries in the spool.
func (f *fixture) waiting() []string {
	return spool{directory: filepath.Join(f.cfg.root, spoolName)}.names()
}

// lines are those of the log about deliveries.
func (f *fixture) lines() []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(f.log.text()) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			f.t.Errorf("not JSON: %q", line)
		}
		if one["msg"] == "webhook" {
			found = append(found, one)
		}
	}
	return found
}

func refs(events []heard) []string {
	var found []string
	for _, one := range events {
		found = append(found, one.event.Ref)
	}
	return found
}

func expectSame[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestAPushIsToldSignedAndThePusherReadsIt(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	first := must(t, dir, "rev-parse", "HEAD")
	second := commit(t, dir, "Say \"$(params.x)\" & `id`", []byte("two\n"))
	said := must(t, dir, "push", "origin", "main")

	events := listener.await(2)
	if len(events) != 2 {
		t.Fatalf("%d deliveries of two pushes", len(events))
	}
	one := events[1]
	if got := one.header.Get("X-Hub-Signature-256"); got != signature(one.body, testSecret) {
		t.Errorf("signature %s", got)
	}
	if one.header.Get("X-GitHub-Event") != "push" || one.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", one.header)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(one.id()) {
		t.Errorf("delivery %q", one.id())
	}
	got := one.event
	head := *got.HeadCommit
	got.HeadCommit, got.Commits = nil, nil
	want := pushEvent{Ref: "refs/heads/main", Before: first, After: second, Pusher: person{Name: testUser},
		Repository: repository{Name: "app", FullName: testUser + "/app", CloneURL: "http://git.cluster/app.git"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("event %+v, want %+v", got, want)
	}
	if want := (headCommit{second, "Say \"$(params.x)\" & `id`", person{"A", "a@example.com"}}); head != want {
		t.Errorf("head %+v, want %+v", head, want)
	}
	if !events[0].event.Created || events[0].event.Deleted || events[0].event.Before != strings.Repeat("0", 40) {
		t.Errorf("the first push: %+v", events[0].event)
	}
	if wanted := fmt.Sprintf("remote: main %s: webhook sent · delivery %s", second[:7], one.id()); !strings.Contains(said, wanted) {
		t.Errorf("the pusher read %q, not %q", said, wanted)
	}
	lines := f.lines()
	last := lines[len(lines)-1]
	for key, value := range map[string]any{"id": one.id(), "repository": "app", "ref": "refs/heads/main",
		"commit": second, "status": 202.0, "eventID": "event-1", "error": ""} {
		if last[key] != value {
			t.Errorf("log: %s is %v, want %v", key, last[key], value)
		}
	}
	if strings.Contains(f.log.text()+said, testSecret) {
		t.Error("the secret shows")
	}
	if waiting := f.waiting(); len(waiting) > 0 {
		t.Errorf("left in the spool: %v", waiting)
	}
}

func TestEachChangedBranchIsToldOnceAndNoTag(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	first := must(t, dir, "rev-parse", "HEAD")
	must(t, dir, "tag", "-a", "-m", "one", "v1")
	said := must(t, dir, "push", "origin", "main:release/1.x", "v1", "main:refs/notes/x", "main")
	if !strings.Contains(said, "no webhook is sent for tags and deleted branches (1)") {
		t.Errorf("the pusher read %q", said)
	}
	must(t, dir, "push", "-q", "origin", ":release/1.x")
	must(t, dir, "push", "-q", "origin", "main")
	must(t, dir, "push", "-q", "origin", "main:last")

	events := listener.await(3)
	expectSame(t, "refs", refs(events), []string{"refs/heads/main", "refs/heads/release/1.x", "refs/heads/last"})
	if branch := events[1].event; branch.After != first || branch.HeadCommit == nil || !branch.Created {
		t.Errorf("the branch: %+v %+v", branch, branch.HeadCommit)
	}
}

func TestThousandsOfTagsPushOutNobodysDelivery(t *testing.T) {
	f := telling(t, "http://"+free(t))
	dir := f.seeded()
	tags := "# pack-refs with: peeled fully-peeled sorted \n"
	head := must(t, dir, "rev-parse", "HEAD")
	for number := range spoolLimit + 200 {
		tags += fmt.Sprintf("%s refs/tags/v%05d\n", head, number)
	}
	if err := os.WriteFile(filepath.Join(dir, ".git/packed-refs"), []byte(tags), 0o644); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	must(t, dir, "push", "-q", "--tags", "origin", "main:more")
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("the push took %s", took)
	}
	if waiting := f.waiting(); len(waiting) != 2 {
		t.Errorf("%d deliveries wait", len(waiting))
	}
}

func TestAForcedPushIsTold(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	must(t, dir, "commit", "-q", "--amend", "-m", "another")
	must(t, dir, "push", "-q", "--force", "origin", "main")
	if events := listener.await(2); events[1].event.After != must(t, dir, "rev-parse", "HEAD") {
		t.Errorf("%+v", events[1].event)
	}
}

// write makes a commit with these files in place of all that there are.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	must(t, dir, "rm", "-r", "-q", ".")
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(t, dir, "add", "--all")
	must(t, dir, "commit", "-q", "-m", "files")
}

func TestTheFilesOfAPushAreTold(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	write(t, dir, map[string]string{"a/kept": "1", "a/gone": "1", "b/change d": "1"})
	base := must(t, dir, "rev-parse", "HEAD")
	must(t, dir, "push", "-q", "origin", "main")
	write(t, dir, map[string]string{"a/kept": "1", "b/change d": "2", "later": "1"})
	write(t, dir, map[string]string{"a/kept": "1", "b/change d": "2", "b/nëw\n": "1"})
	must(t, dir, "push", "-q", "origin", "main")
	must(t, dir, "push", "-q", "--force", "origin", base+":main")
	must(t, dir, "push", "-q", "origin", base+":refs/heads/other")
	events := listener.await(5)

	told := func(number int) changed {
		event := events[number].event
		if len(event.Commits) != 1 || event.Commits[0].ID != event.After {
			t.Fatalf("commits %+v", event.Commits)
		}
		return event.Commits[0]
	}
	for number, want := range map[int]changed{
		2: {Added: []string{"b/nëw\n"}, Modified: []string{"b/change d"}, Removed: []string{"a/gone"}, Complete: true},
		3: {Added: []string{"a/gone"}, Modified: []string{"b/change d"}, Removed: []string{"b/nëw\n"}, Complete: true},
		4: {Added: []string{}, Modified: []string{}, Removed: []string{}},
	} {
		got := told(number)
		got.ID = ""
		if !reflect.DeepEqual(got, want) {
			t.Errorf("push %d: %+v, want %+v", number, got, want)
		}
	}
}

func TestTooManyFilesAreNotTold(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	for number, files := range []int{filesLimit, 2*filesLimit + 1} {
		all := map[string]string{}
		for each := range files {
			all[fmt.Sprintf("%05d", each)] = "1"
		}
		if number == 0 { // beside them, the file of the first push is gone
			delete(all, "00000")
		}
		write(t, dir, all)
		must(t, dir, "push", "-q", "origin", "main")
	}
	events := listener.await(3)
	for number, want := range map[int]int{1: filesLimit, 2: 0} {
		one := events[number].event.Commits[0]
		if got := len(one.Added) + len(one.Removed); got != want || one.Complete != (want > 0) {
			t.Errorf("push %d: %d files, complete %v", number, got, one.Complete)
		}
		if bytes.Contains(events[number].body, []byte("null")) {
			t.Errorf("push %d: a list is null", number)
		}
	}
}

func TestAPushOptionKeepsItQuiet(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	listener.await(1)
	wanted := commit(t, dir, "second", []byte("two\n"))
	if said := must(t, dir, "push", "-o", "no-webhook", "origin", "main"); !strings.Contains(said, "no webhook is sent") {
		t.Errorf("the pusher read %q", said)
	}
	noted := "refs/tekton-bootstrap/quiet/main"
	if got := must(t, dir, "ls-remote", "origin", noted); got != wanted+"\t"+noted {
		t.Errorf("%s is %q, want %s", noted, got, wanted)
	}
	must(t, dir, "push", "-q", "-o", "something-else", "origin", "main:other")
	events := listener.await(2)
	expectSame(t, "refs", refs(events), []string{"refs/heads/main", "refs/heads/other"})
	if got := must(t, repositoryPath(f.cfg.root, "app"), "rev-parse", "main"); got != wanted {
		t.Errorf("main is %s, want %s", got, wanted)
	}
}

func TestPushesAtOneTimeLoseNothing(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	const number = 8
	var wanted []string
	var group sync.WaitGroup
	for i := range number {
		branch := fmt.Sprintf("branch-%d", i)
		wanted = append(wanted, "refs/heads/"+branch)
		group.Go(func() {
			if output, err := userGit(t, dir, "push", "-q", f.url("app"), "main:"+branch); err != nil {
				t.Errorf("%v: %s", err, output)
			}
		})
	}
	group.Wait()
	got := refs(listener.await(number + 1))[1:]
	slices.Sort(got)
	expectSame(t, "refs", got, wanted)
}

func TestASlowListenerDoesNotHoldThePush(t *testing.T) {
	pushed := make(chan struct{})
	listener, url := listen(t, func(int) int {
		<-pushed
		return http.StatusAccepted
	})
	f := telling(t, url, func(cfg *settings) { cfg.webhook.patience = 50 * time.Millisecond })
	dir := f.t.TempDir()
	must(t, dir, "init", "-q", "-b", "main")
	commit(t, dir, "first", []byte("one\n"))
	said := must(t, dir, "push", f.url("app"), "main", "main:other")
	close(pushed)
	if strings.Count(said, "the listener has not answered yet") != 2 {
		t.Errorf("the pusher read %q", said)
	}
	events := listener.await(2)
	await(t, "the spool is empty", func() bool { return len(f.waiting()) == 0 })
	expectSame(t, "refs", refs(events), []string{"refs/heads/main", "refs/heads/other"})
}

func TestOneThatNeverAnswersIsAskedAgain(t *testing.T) {
	never := make(chan struct{})
	listener, url := listen(t, func(number int) int {
		if number == 0 {
			<-never
		}
		return http.StatusAccepted
	})
	t.Cleanup(func() { close(never) })
	f := telling(t, url, func(cfg *settings) { cfg.webhook.tryLimit = 100 * time.Millisecond })
	f.seeded()
	events := listener.await(2)
	expectSame(t, "ids", []string{events[1].id()}, []string{events[0].id()})
	await(t, "the spool is empty", func() bool { return len(f.waiting()) == 0 })
}

func TestWhatMayPassIsTriedAgainAndWhatDoesNotIsNot(t *testing.T) {
	for _, c := range []struct {
		status, tries int
		said          string
	}{
		{500, 3, "webhook not sent yet, tried again for 1h: the listener answers 500"},
		{503, 3, "webhook not sent yet"},
		{429, 3, "webhook not sent yet"},
		{400, 1, "webhook refused: the listener answers 400"},
		{301, 1, "webhook refused"},
		{204, 1, "webhook sent"},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			listener, url := listen(t, func(number int) int {
				if number < 2 {
					return c.status
				}
				return http.StatusAccepted
			})
			f := telling(t, url)
			dir := f.t.TempDir()
			must(t, dir, "init", "-q", "-b", "main")
			commit(t, dir, "first", []byte("one\n"))
			if said := must(t, dir, "push", f.url("app"), "main"); !strings.Contains(said, c.said) {
				t.Errorf("the pusher read %q", said)
			}
			await(t, "the spool is empty", func() bool { return len(f.waiting()) == 0 })
			events := listener.all()
			if len(events) != c.tries || len(f.lines()) != c.tries {
				t.Errorf("%d tries and %d lines, want %d", len(events), len(f.lines()), c.tries)
			}
			for _, one := range events {
				if one.id() != events[0].id() || string(one.body) != string(events[0].body) {
					t.Error("another delivery")
				}
			}
		})
	}
}

// free is the address of nobody.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestARestartedServerGoesOnWithWhatDidNotArrive(t *testing.T) {
	address := free(t)
	f := telling(t, "http://"+address, func(cfg *settings) { cfg.webhook.firstPause = time.Hour })
	dir := f.t.TempDir()
	must(t, dir, "init", "-q", "-b", "main")
	commit(t, dir, "first", []byte("one\n"))
	said := must(t, dir, "push", f.url("app"), "main", "main:other")
	if strings.Count(said, "webhook not sent yet") != 2 || !strings.Contains(said, "connection refused") {
		t.Errorf("the pusher read %q", said)
	}
	if len(f.waiting()) != 2 {
		t.Fatalf("in the spool: %v", f.waiting())
	}
	rest := filepath.Join(f.cfg.root, spoolName, unfinished+"left-over")
	rubbish := filepath.Join(f.cfg.root, spoolName, "0-rubbish.json")
	for _, path := range []string{rest, rubbish} {
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	listener := &hearer{t: t, answer: accept}
	taken, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("somebody took the port: %v", err)
	}
	web := &http.Server{Handler: listener}
	go func() { _ = web.Serve(taken) }()
	t.Cleanup(func() { web.Close() })
	again := telling(t, "http://"+address, func(cfg *settings) { cfg.root = f.cfg.root })
	await(t, "the spool is empty", func() bool { return len(f.waiting()) == 0 })
	expectSame(t, "refs", refs(listener.all()), []string{"refs/heads/main", "refs/heads/other"})
	for _, one := range listener.all() {
		if !strings.Contains(said, one.id()) {
			t.Errorf("another delivery: %s", one.id())
		}
	}
	if _, err := os.Stat(rest); err == nil {
		t.Error("the half-written delivery is still there")
	}
	if !strings.Contains(again.log.text(), "cannot be read") {
		t.Error("nothing is said of the rubbish")
	}
}

func TestItIsGivenUpAfterItsTime(t *testing.T) {
	f := telling(t, "http://"+free(t), func(cfg *settings) { cfg.webhook.ageLimit = 300 * time.Millisecond })
	f.seeded()
	await(t, "the spool is empty", func() bool { return len(f.waiting()) == 0 })
	lines := f.lines()
	if last := fmt.Sprint(lines[len(lines)-1]["error"]); !strings.Contains(last, "given up after 300ms") {
		t.Errorf("%d lines, the last: %s", len(lines), last)
	}
}

// A push of the evening, and the machine was off for the night: the listener is up a little after the server.
func TestAnOldDeliveryIsTriedForItsWholeTimeAfterAStart(t *testing.T) {
	ready := make(chan struct{})
	answer := func(int) int {
		select {
		case <-ready:
			return http.StatusAccepted
		default:
			return http.StatusServiceUnavailable
		}
	}
	listener, url := listen(t, answer)
	f := telling(t, url, func(cfg *settings) {
		cfg.webhook.ageLimit = 10 * time.Second
		kept, err := openSpool(filepath.Join(cfg.root, spoolName), spoolLimit)
		if err == nil {
			old := delivery{ID: "of-yesterday", Repository: "app", Ref: "refs/heads/main", Made: time.Now().Add(-14 * time.Hour),
				Body: []byte(`{"ref":"refs/heads/main"}`)}
			_, err = kept.put(old)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	await(t, "it was tried twice", func() bool { return len(f.lines()) >= 2 })
	close(ready)
	listener.await(1)
	await(t, "the spool is empty", func() bool { return len(f.waiting()) == 0 })
	if last := f.lines()[len(f.lines())-1]; last["error"] != "" || last["id"] != "of-yesterday" {
		t.Errorf("the last attempt: %v", last)
	}
}

func TestTheSpoolIsBounded(t *testing.T) {
	kept, err := openSpool(filepath.Join(t.TempDir(), "x"), 2)
	if err != nil {
		t.Fatal(err)
	}
	for number := range 3 {
		_, err = kept.put(delivery{ID: fmt.Sprint(number), Made: time.Unix(int64(number), 0), Body: []byte("{}")})
		if (err != nil) != (number == 2) {
			t.Errorf("number %d: %v", number, err)
		}
	}
	for number, name := range kept.names() {
		if found, err := kept.get(name); err != nil || found.ID != fmt.Sprint(number) {
			t.Errorf("%d: %+v %v", number, found, err)
		}
	}
}

func TestThePusherReadsWhyNothingIsKept(t *testing.T) {
	_, url := listen(t, accept)
	f := telling(t, url)
	directory := filepath.Join(f.cfg.root, spoolName)
	if err := os.RemoveAll(directory); err != nil {
		t.Fatal(err)
	}
	dir := f.t.TempDir()
	must(t, dir, "init", "-q", "-b", "main")
	wanted := commit(t, dir, "first", []byte("one\n"))
	if said := must(t, dir, "push", f.url("app"), "main"); !strings.Contains(said, "no webhook is sent: ") {
		t.Errorf("the pusher read %q", said)
	}
	if lines := f.lines(); len(lines) != 1 || lines[0]["commit"] != wanted || lines[0]["error"] == "" {
		t.Errorf("log: %v", lines)
	}
}

func TestTheSecretIsReadAnew(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	setSecret(t, f.cfg.webhook.secretFile, "another\n")
	must(t, dir, "push", "-q", "origin", "main:second")
	if one := listener.await(2)[1]; one.header.Get("X-Hub-Signature-256") != signature(one.body, "another") {
		t.Error("signed with the old secret")
	}
	setSecret(t, f.cfg.webhook.secretFile, "")
	if said := must(t, dir, "push", "origin", "main:third"); !strings.Contains(said, "the secret cannot be read") {
		t.Errorf("the pusher read %q", said)
	}
	setSecret(t, f.cfg.webhook.secretFile, testSecret)
	if one := listener.await(3)[2]; one.header.Get("X-Hub-Signature-256") != signature(one.body, testSecret) {
		t.Error("not signed with the new secret")
	}
}

func TestSomebodyElsesTextIsCutAndMended(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	// Written as it is: `git commit` would mend some of it.
	author := strings.Repeat("Zoë ", 1000) + "<" + strings.Repeat("x", 1000) + "@example.com> 1700000000 +0000"
	text := "Grüße \xff\"}],\x1b[31m\n" + strings.Repeat("ü", 1<<20)
	object := filepath.Join(t.TempDir(), "object")
	raw := fmt.Sprintf("tree %s\nauthor %s\ncommitter %s\n\n%s", must(t, dir, "rev-parse", "HEAD^{tree}"), author, author, text)
	if err := os.WriteFile(object, []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	made := must(t, dir, "hash-object", "-t", "commit", "-w", object)
	branch := "$(params.x)-\"{{é}}-\xfe;id"
	said := must(t, dir, "push", "origin", made+":refs/heads/"+branch)
	one := listener.await(2)[1]
	if want := "refs/heads/$(params.x)-\"{{é}}-\uFFFD;id"; one.event.Ref != want {
		t.Errorf("ref %q, want %q", one.event.Ref, want)
	}
	head := one.event.HeadCommit
	if head == nil || head.ID != one.event.After {
		t.Fatalf("head %+v", head)
	}
	if !strings.HasPrefix(head.Message, "Grüße \uFFFD\"}],\x1b[31m\nüü") || len(head.Message) > messageLimit {
		t.Errorf("message of %d bytes: %.60q", len(head.Message), head.Message)
	}
	if !strings.HasPrefix(head.Author.Name, "Zoë Zoë") || len(head.Author.Name) > nameLimit || len(head.Author.Email) > nameLimit {
		t.Errorf("author %+v", head.Author)
	}
	if line, _, _ := strings.Cut(said, "\n"); !utf8.ValidString(line) || !strings.Contains(line, "webhook sent") {
		t.Errorf("the pusher read %q", line)
	}
}

func TestManyRefsAreToldInFewLines(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	words := []string{"push", "origin"}
	for i := range 2 * linesLimit {
		words = append(words, fmt.Sprintf("main:branch-%d", i))
	}
	said := must(t, dir, words...)
	if strings.Count(said, "webhook sent") != linesLimit || !strings.Contains(said, "and 10 more") {
		t.Errorf("the pusher read %q", said)
	}
	listener.await(2*linesLimit + 1)
}

func TestWithoutAnAddressNobodyIsTold(t *testing.T) {
	f := startPlain(t)
	dir := f.seeded()
	if said := must(t, dir, "push", "-o", "no-webhook", "origin", "main:other"); strings.Contains(said, "webhook") {
		t.Errorf("the pusher read %q", said)
	}
	if _, err := os.Stat(filepath.Join(f.cfg.root, spoolName)); err == nil {
		t.Error("there is a spool")
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s",
		10 * time.Minute: "10m", 61 * time.Second: "1m1s", 100 * time.Millisecond: "100ms"} {
		if got := short(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"aüü", 4, "aü"}, {"üü", 1, ""}, {"a\xffb", 9, "a\uFFFDb"}} {
		if got := clean(c.text, c.limit); got != c.want {
			t.Errorf("%q to %d: %q, want %q", c.text, c.limit, got, c.want)
		}
	}
}
