package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// put asks for a repository as the one who has the credentials.
func (f *fixture) put(name string) (int, string) {
	f.t.Helper()
	return f.ask("PUT", "/"+name+".git", testUser, testPassword)
}

// files are the names in the directory of the repositories.
func (f *fixture) files() []string {
	f.t.Helper()
	entries, err := os.ReadDir(f.cfg.root)
	if err != nil {
		f.t.Fatal(err)
	}
	var found []string
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return found
}

// logged are the lines of the log, which is to hold nothing but requests.
func (f *fixture) logged() []map[string]any {
	f.t.Helper()
	var found []map[string]any
	for line := range strings.Lines(f.log.text()) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil || one["msg"] != "request" {
			f.t.Errorf("not the line of a request: %q", line)
		}
		found = append(found, one)
	}
	return found
}

// first is a working copy with one commit, pushed nowhere.
func first(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, dir, "init", "-q", "-b", "main")
	commit(t, dir, "first", []byte("one\n"))
	return dir
}

func TestPutMakesAnEmptyRepositoryOnce(t *testing.T) {
	f := startPlain(t)
	for _, wanted := range []int{201, 200} {
		if status, body := f.put("shop"); status != wanted {
			t.Errorf("%d %s, want %d", status, body, wanted)
		}
	}
	var statuses []string
	for _, line := range f.logged() {
		statuses = append(statuses, fmt.Sprint(line["level"], " ", line["method"], " ", line["path"], " ", line["status"]))
	}
	expectSame(t, "log", statuses, []string{"INFO PUT /shop.git 201", "INFO PUT /shop.git 200"})
	made := repositoryPath(f.cfg.root, "shop")
	if head := must(t, made, "symbolic-ref", "HEAD"); head != "refs/heads/main" {
		t.Errorf("HEAD is %s", head)
	}
	if bare := must(t, made, "rev-parse", "--is-bare-repository"); bare != "true" {
		t.Errorf("bare: %s", bare)
	}
	if listed := must(t, made, "for-each-ref"); listed != "" {
		t.Errorf("it is not empty: %s", listed)
	}
	expectSame(t, "files", f.files(), []string{"app.git", "shop.git"})
}

func TestPutLeavesWhatIsThereAlone(t *testing.T) {
	f := startPlain(t)
	before := must(t, f.seeded(), "rev-parse", "HEAD")
	if status, body := f.put("app"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if got := must(t, repositoryPath(f.cfg.root, "app"), "rev-parse", "main"); got != before {
		t.Errorf("main is %s, was %s", got, before)
	}
}

func TestARepositoryThatWasPutTakesPushesAndGivesClones(t *testing.T) {
	f := startPlain(t)
	for _, name := range []string{"a", "0", "shop.v2", "my-shop", "a--b", "x.new", "x.lock", strings.Repeat("a", 63)} {
		if status, body := f.put(name); status != 201 {
			t.Errorf("%s: %d %s", name, status, body)
			continue
		}
		dir, clone := first(t), t.TempDir()
		must(t, dir, "push", "-q", f.url(name), "main")
		must(t, clone, "clone", "-q", f.url(name), "copy")
		if got, want := must(t, filepath.Join(clone, "copy"), "rev-parse", "HEAD"), must(t, dir, "rev-parse", "HEAD"); got != want {
			t.Errorf("%s: cloned %s, pushed %s", name, got, want)
		}
	}
}

func TestAWrongNameMakesNothing(t *testing.T) {
	f := startPlain(t)
	for _, name := range []string{"", "App", "a_b", "-a", "a-", ".a", "a.", "a..b", "..", "../a", "..%2fa", "%2e%2e/a", "x/a", "a%0a",
		"a%20b", "a%00", "%c3%a9", "a.git", ".undelivered", ".a.new", strings.Repeat("a", 64)} {
		status, body := f.put(name)
		if status != 400 || !strings.HasPrefix(body, "a repository's name is ") || strings.Count(body, "\n") != 1 {
			t.Errorf("%q: %d %q", name, status, body)
		}
	}
	expectSame(t, "files", f.files(), []string{"app.git"})
}

func TestPutNeedsTheCredentials(t *testing.T) {
	f := startPlain(t)
	for _, target := range []string{"/shop.git", "/app.git", "/..git"} {
		for _, pair := range [][2]string{{"", ""}, {testUser, "wrong"}, {"other", testPassword}} {
			if status, _ := f.ask("PUT", target, pair[0], pair[1]); status != 401 {
				t.Errorf("%s as %v: %d", target, pair, status)
			}
		}
	}
	expectSame(t, "files", f.files(), []string{"app.git"})
}

func TestOfPutsAtOneTimeOneMakesItAndAllSucceed(t *testing.T) {
	f := startPlain(t)
	const rounds, number = 5, 8
	for round := range rounds {
		name := fmt.Sprintf("shop-%d", round)
		var mutex sync.Mutex
		counts := map[int]int{}
		var group sync.WaitGroup
		for range number {
			group.Go(func() {
				status, _ := f.put(name)
				mutex.Lock()
				defer mutex.Unlock()
				counts[status]++
			})
		}
		group.Wait()
		if counts[201] != 1 || counts[200] != number-1 {
			t.Errorf("%s: numbers by status: %v", name, counts)
		}
		must(t, first(t), "push", "-q", f.url(name), "main")
	}
}

func TestAPutThatWasInterruptedIsDoneByTheNext(t *testing.T) {
	f := startPlain(t)
	if err := os.MkdirAll(filepath.Join(f.cfg.root, ".shop.new", "left-over"), 0o755); err != nil {
		t.Fatal(err)
	}
	if status, body := f.put("shop"); status != 201 {
		t.Errorf("%d %s", status, body)
	}
	expectSame(t, "files", f.files(), []string{"app.git", "shop.git"})
}

func TestWhatKeepsARepositoryFromBeingMadeIsLogged(t *testing.T) {
	f := startPlain(t)
	if err := os.WriteFile(filepath.Join(f.cfg.root, "shop.git"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, body := f.put("shop"); status != 500 || strings.Contains(body, f.cfg.root) {
		t.Errorf("%d %s", status, body)
	}
	lines := f.logged()
	if len(lines) != 1 || lines[0]["level"] != "WARN" || !strings.Contains(fmt.Sprint(lines[0]["git"]), "shop.git: ") {
		t.Errorf("log: %v", lines)
	}
}

func TestAPutWaitsForItsTurn(t *testing.T) {
	f := start(t, func(cfg *settings) { cfg.concurrency, cfg.queueLimit = 1, 100*time.Millisecond })
	stalled := f.stalled()
	await(t, "it is refused", func() bool {
		status, _ := f.put("shop")
		return status == 503
	})
	stalled.Close()
	await(t, "the place is free again", func() bool {
		status, _ := f.put("shop")
		return status/100 == 2
	})
}

func TestAPutThatStandsStillHoldsNoPlaceAndIsSentAway(t *testing.T) {
	f := start(t, func(cfg *settings) { cfg.concurrency, cfg.idleLimit = 1, 300*time.Millisecond })
	for _, what := range []string{"PUT /shop.git", "PUT /Shop.git"} {
		connection := f.stands(what)
		_ = connection.SetReadDeadline(time.Now().Add(10 * time.Second))
		if status, body := f.put("other"); status/100 != 2 {
			t.Errorf("meanwhile: %d %s", status, body)
		}
		if answer, err := io.ReadAll(connection); err != nil {
			t.Errorf("%s: %v %q", what, err, answer)
		}
	}
}

func TestAPushToARepositoryThatWasPutIsToldAlsoAfterARestart(t *testing.T) {
	listener, url := listen(t, accept)
	f := telling(t, url)
	const name = "my-shop.v2"
	if status, body := f.put(name); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	dir := first(t)
	said := must(t, dir, "push", f.url(name), "main")
	// The restarted server knows it by the directory alone: nothing lists it.
	again := telling(t, url, func(cfg *settings) { cfg.root = f.cfg.root })
	if status, body := again.put(name); status != 200 {
		t.Errorf("after the restart: %d %s", status, body)
	}
	must(t, dir, "push", "-q", again.url(name), "main:other")

	events := listener.await(2)
	expectSame(t, "refs", refs(events), []string{"refs/heads/main", "refs/heads/other"})
	want := repository{Name: name, FullName: testUser + "/" + name, CloneURL: "http://git.cluster/" + name + ".git"}
	for _, one := range events {
		if one.event.Repository != want {
			t.Errorf("repository %+v, want %+v", one.event.Repository, want)
		}
		if head := one.event.HeadCommit; head == nil || head.ID != must(t, dir, "rev-parse", "HEAD") {
			t.Errorf("head %+v", head)
		}
	}
	if !strings.Contains(said, "webhook sent · delivery "+events[0].id()) {
		t.Errorf("the pusher read %q", said)
	}
	for _, log := range []*fixture{f, again} {
		if lines := log.lines(); len(lines) != 1 || lines[0]["repository"] != name || lines[0]["error"] != "" {
			t.Errorf("log: %v", lines)
		}
	}

	wanted := commit(t, dir, "second", []byte("two\n"))
	must(t, dir, "push", "-q", "-o", skipOption, again.url(name), "main")
	if got := must(t, repositoryPath(f.cfg.root, name), "rev-parse", quietSpace+"main"); got != wanted {
		t.Errorf("the quiet push: %s is noted, want %s", got, wanted)
	}
	if got := must(t, dir, "ls-remote", again.url("app")); got != "" {
		t.Errorf("the other repository holds %s", got)
	}
	if number := len(listener.all()); number != 2 {
		t.Errorf("%d deliveries", number)
	}
}

func TestWhatDidNotArriveOfARepositoryThatWasPutIsSentAfterARestart(t *testing.T) {
	nobody := "http://" + free(t)
	f := telling(t, nobody, func(cfg *settings) { cfg.webhook.firstPause = time.Hour })
	f.put("my-shop.v2")
	dir := first(t)
	must(t, dir, "push", "-q", f.url("my-shop.v2"), "main")
	must(t, dir, "push", "-q", f.url("app"), "main")
	if waiting := f.waiting(); len(waiting) != 2 {
		t.Fatalf("in the spool: %v", waiting)
	}
	listener, url := listen(t, accept)
	telling(t, url, func(cfg *settings) { cfg.root = f.cfg.root })
	var names []string
	for _, one := range listener.await(2) {
		names = append(names, one.event.Repository.FullName)
	}
	expectSame(t, "repositories", names, []string{testUser + "/my-shop.v2", testUser + "/app"})
}
