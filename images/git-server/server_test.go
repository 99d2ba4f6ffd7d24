package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	testUser     = "developer"
	testPassword = "correct horse"
)

// fixture is a running server with one empty repository, app.git, and its log.
type fixture struct {
	t    *testing.T
	cfg  settings
	base *url.URL
	log  *lockedBuffer
	seen *requests
}

type lockedBuffer struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.Buffer.String()
}

// requests counts what kinds of body came in: a test that means to prove chunks must have seen some.
type requests struct {
	mutex         sync.Mutex
	chunked, gzip int
}

func (s *requests) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		if len(r.TransferEncoding) > 0 {
			s.chunked++
		}
		if r.Header.Get("Content-Encoding") == "gzip" {
			s.gzip++
		}
		s.mutex.Unlock()
		next.ServeHTTP(w, r)
	})
}

// TestMain lets git call the tests' own program as its hook.
func TestMain(m *testing.M) {
	if calledAsHook() {
		runHook()
		return
	}
	os.Exit(m.Run())
}

func start(t *testing.T, edit func(*settings)) *fixture {
	t.Helper()
	cfg, err := readSettings(func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	cfg.root, cfg.credentialsDir = t.TempDir(), t.TempDir()
	edit(&cfg)
	f := &fixture{t: t, cfg: cfg, log: &lockedBuffer{}, seen: &requests{}}
	f.setPassword(testPassword)
	log := slog.New(slog.NewJSONHandler(f.log, nil))
	if _, err := createRepository(t.Context(), cfg.root, "app"); err != nil {
		t.Fatal(err)
	}
	s, err := newServer(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	web := httptest.NewServer(f.seen.wrap(s.handler()))
	t.Cleanup(web.Close)
	f.base, _ = url.Parse(web.URL)
	return f
}

func startPlain(t *testing.T) *fixture { return start(t, func(*settings) {}) }

func (f *fixture) setPassword(password string) {
	f.t.Helper()
	for name, content := range map[string]string{"username": testUser + "\n", "password": password} {
		if err := os.WriteFile(filepath.Join(f.cfg.credentialsDir, name), []byte(content), 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fixture) url(repository string) string {
	address := *f.base
	address.User = url.UserPassword(testUser, testPassword)
	address.Path = "/" + repository + ".git"
	return address.String()
}

func (f *fixture) ask(method, target, username, password string) (int, string) {
	f.t.Helper()
	request, err := http.NewRequest(method, f.base.String(), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	// Opaque is sent as it is: the client must not tidy up what the test means to be untidy.
	request.URL.Opaque = target
	if username != "" {
		request.SetBasicAuth(username, password)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// clock makes every commit a second younger than the one before, however fast the tests are:
// in which order git offers commits in a negotiation depends on it.
var clock atomic.Int64

// userGit is a git of the user's, on a machine without any configuration.
func userGit(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	command := exec.Command("git", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com",
		fmt.Sprintf("GIT_COMMITTER_DATE=%d +0000", 1_700_000_000+clock.Add(1)))
	output, err := command.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func must(t *testing.T, dir string, args ...string) string {
	t.Helper()
	output, err := userGit(t, dir, args...)
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, output)
	}
	return output
}

// seeded is a working copy with one commit that has been pushed to app.git.
func (f *fixture) seeded() string {
	f.t.Helper()
	dir := f.t.TempDir()
	must(f.t, dir, "init", "-q", "-b", "main")
	must(f.t, dir, "remote", "add", "origin", f.url("app"))
	commit(f.t, dir, "first", []byte("one\n"))
	must(f.t, dir, "push", "-q", "origin", "main")
	return dir
}

func commit(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, dir, "add", ".")
	must(t, dir, "commit", "-q", "-m", name)
	return must(t, dir, "rev-parse", "HEAD")
}

func TestPushAndClone(t *testing.T) {
	f := startPlain(t)
	dir := f.seeded()
	clone := t.TempDir()
	must(t, clone, "clone", "-q", f.url("app"), "copy")
	copied := filepath.Join(clone, "copy")
	if got, want := must(t, copied, "rev-parse", "HEAD"), must(t, dir, "rev-parse", "HEAD"); got != want {
		t.Errorf("cloned %s, pushed %s", got, want)
	}
	if branch := must(t, copied, "branch", "--show-current"); branch != "main" {
		t.Errorf("HEAD is %s", branch)
	}
	if strings.Contains(f.log.text(), testPassword) || strings.Contains(f.log.text(), "Basic ") {
		t.Error("credentials in the log")
	}
}

func TestLargePushComesInChunks(t *testing.T) {
	f := startPlain(t)
	dir := f.seeded()
	blob := make([]byte, 8<<20)
	_, _ = rand.Read(blob)
	commit(t, dir, "blob", blob)
	must(t, dir, "push", "-q", "origin", "main")
	if f.seen.chunked == 0 {
		t.Fatal("the push did not come in chunks: nothing was proved")
	}
	clone := t.TempDir()
	must(t, clone, "clone", "-q", f.url("app"), "copy")
	if got, _ := os.ReadFile(filepath.Join(clone, "copy", "blob")); !bytes.Equal(got, blob) {
		t.Errorf("%d bytes came back, and not the same", len(got))
	}
}

// git with as much address space as its container has memory, for a file that would not fit twice.
func TestALargeFileIsTakenAndGivenInBoundedMemory(t *testing.T) {
	f := startPlain(t)
	dir := f.seeded()
	large := make([]byte, 64<<20)
	_, _ = rand.Read(large)
	commit(t, dir, "large", large)
	must(t, dir, "push", "-q", "origin", "main")
	repository := repositoryPath(f.cfg.root, "app")
	pack := func(limit int) error {
		// -v counts mapped files as well, such as the object itself.
		line := fmt.Sprintf("ulimit -v %d; git --git-dir=%s rev-list --objects main | "+
			"git --git-dir=%s pack-objects --stdout -q > /dev/null", limit, repository, repository)
		command := exec.Command("sh", "-c", line)
		command.Env = append(gitEnvironment(), "PATH="+os.Getenv("PATH"))
		output, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return nil
	}
	if err := pack(120_000); err != nil {
		t.Error(err)
	}
	again := t.TempDir()
	must(t, again, "clone", "-q", f.url("app"), "x")
	if found, err := os.Stat(filepath.Join(again, "x/large")); err != nil || found.Size() != int64(len(large)) {
		t.Errorf("%v %v", found, err)
	}
}

func TestNegotiationInGzip(t *testing.T) {
	for _, version := range []string{"0", "2"} {
		f := startPlain(t)
		dir := f.seeded()
		clone := t.TempDir()
		must(t, clone, "clone", "-q", f.url("app"), "copy")
		copied := filepath.Join(clone, "copy")
		// Many commits that the server does not know make a long request.
		for i := range 80 {
			must(t, copied, "commit", "-q", "--allow-empty", "-m", fmt.Sprint(i))
		}
		wanted := commit(t, dir, "second", []byte("two\n"))
		must(t, dir, "push", "-q", "origin", "main")
		must(t, copied, "-c", "protocol.version="+version, "fetch", "-q", "origin")
		if got := must(t, copied, "rev-parse", "origin/main"); got != wanted {
			t.Errorf("protocol %s: fetched %s, want %s", version, got, wanted)
		}
		if f.seen.gzip == 0 {
			t.Errorf("protocol %s: no request came in gzip: nothing was proved", version)
		}
	}
}

func TestForcePushAndFetchOfTheCommitThatWasReplaced(t *testing.T) {
	f := startPlain(t)
	dir := f.seeded()
	replaced := must(t, dir, "rev-parse", "HEAD")
	must(t, dir, "commit", "-q", "--amend", "-m", "another")
	must(t, dir, "push", "-q", "--force", "origin", "main")
	for _, version := range []string{"0", "2"} {
		other := t.TempDir()
		must(t, other, "init", "-q")
		must(t, other, "-c", "protocol.version="+version, "fetch", "-q", "--depth=1", f.url("app"), replaced)
		if got := must(t, other, "rev-parse", "FETCH_HEAD"); got != replaced {
			t.Errorf("protocol %s: fetched %s", version, got)
		}
	}
}

func TestProtocolVersion2IsSpoken(t *testing.T) {
	f := startPlain(t)
	f.seeded()
	command := exec.Command("git", "-c", "protocol.version=2", "ls-remote", f.url("app"))
	command.Env = append(os.Environ(), "GIT_TRACE_PACKET=1")
	if output, err := command.CombinedOutput(); err != nil || !strings.Contains(string(output), "< version 2") {
		t.Errorf("%v: %s", err, output)
	}
}

func TestRepositoryOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	f := startPlain(t)
	dir := f.seeded()
	err := filepath.Walk(f.cfg.root, func(path string, _ os.FileInfo, err error) error {
		return os.Chown(path, 12345, 12345)
	})
	if err != nil {
		t.Fatal(err)
	}
	must(t, dir, "fetch", "-q", "origin")
}

func TestWithoutTheRightCredentialsNothingIsSaid(t *testing.T) {
	f := startPlain(t)
	for _, target := range []string{"/app.git/info/refs?service=git-upload-pack", "/none.git/info/refs?service=git-upload-pack", "/"} {
		for _, pair := range [][2]string{{"", ""}, {testUser, "wrong"}, {testUser, ""}, {"other", testPassword}, {testPassword, testUser}} {
			if status, _ := f.ask("GET", target, pair[0], pair[1]); status != 401 {
				t.Errorf("%s as %v: %d", target, pair, status)
			}
		}
	}
}

func TestRotatedPasswordCountsAtOnce(t *testing.T) {
	f := startPlain(t)
	refs := "/app.git/info/refs?service=git-upload-pack"
	f.setPassword("another")
	if status, _ := f.ask("GET", refs, testUser, testPassword); status != 401 {
		t.Errorf("the old password: %d", status)
	}
	if status, _ := f.ask("GET", refs, testUser, "another"); status != 200 {
		t.Errorf("the new password: %d", status)
	}
	for _, fault := range []func(){
		func() { f.setPassword("") },
		func() { _ = os.Remove(filepath.Join(f.cfg.credentialsDir, "password")) },
	} {
		fault()
		if status, _ := f.ask("GET", refs, testUser, ""); status != 503 {
			t.Errorf("without a password: %d", status)
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	f := startPlain(t)
	if err := os.WriteFile(filepath.Join(f.cfg.root, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{"GET", "/none.git/info/refs?service=git-upload-pack"},
		{"GET", "/../app.git/info/refs?service=git-upload-pack"},
		{"GET", "/app.git/../app.git/info/refs?service=git-upload-pack"},
		{"GET", "/%2e%2e/app.git/info/refs?service=git-upload-pack"},
		{"GET", "/..%2f..%2fetc/info/refs?service=git-upload-pack"},
		{"GET", "/x/app.git/info/refs?service=git-upload-pack"},
		{"GET", "//app.git/info/refs?service=git-upload-pack"},
		{"GET", "/app.git/info/refs"},
		{"GET", "/app.git/info/refs?service=git-archive"},
		{"GET", "/app.git/HEAD"},
		{"GET", "/app.git/config"},
		{"GET", "/app.git/objects/info/packs"},
		{"GET", "/app.git/git-upload-pack"},
		{"POST", "/app.git/info/refs?service=git-upload-pack"},
		{"GET", "/secret"},
		{"GET", "/"},
		{"GET", "/none.git"},
		{"GET", "/none.git/info/refs?service=git-receive-pack"},
		{"POST", "/none.git"},
		{"POST", "/none.git/git-upload-pack"},
		{"POST", "/none.git/git-receive-pack"},
		{"PUT", "/none"},
		{"PUT", "/none.git/"},
		{"PUT", "/none.git/info/refs"},
		{"PUT", "/"},
	} {
		if status, body := f.ask(c[0], c[1], testUser, testPassword); status != 404 {
			t.Errorf("%s %s: %d %s", c[0], c[1], status, body)
		}
	}
	expectSame(t, "files", f.files(), []string{"app.git", "secret"})
}

func TestHealthNeedsNoCredentials(t *testing.T) {
	f := startPlain(t)
	if status, body := f.ask("GET", "/healthz", "", ""); status != 200 || body != "ok\n" {
		t.Errorf("%d %q", status, body)
	}
	if err := os.RemoveAll(f.cfg.root); err != nil {
		t.Fatal(err)
	}
	if status, _ := f.ask("GET", "/healthz", "", ""); status != 503 {
		t.Errorf("without its directory: %d", status)
	}
}

// stalled opens a push that never goes on, and gives back its connection.
func (f *fixture) stalled() net.Conn {
	f.t.Helper()
	return f.stands("POST /app.git/git-receive-pack")
}

// stands sends the beginning of a request whose body never comes.
func (f *fixture) stands(what string) net.Conn {
	f.t.Helper()
	connection, err := net.Dial("tcp", f.base.Host)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { connection.Close() })
	request, _ := http.NewRequest("POST", "/", nil)
	request.SetBasicAuth(testUser, testPassword)
	_, _ = fmt.Fprintf(connection, "%s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n"+
		"Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 1000\r\n\r\n0000", what, request.Header.Get("Authorization"))
	return connection
}

func TestOneThatStandsStillIsSentAwayAndFreesItsPlace(t *testing.T) {
	f := start(t, func(cfg *settings) {
		cfg.concurrency, cfg.idleLimit, cfg.queueLimit = 1, 300*time.Millisecond, 20*time.Second
	})
	f.stalled()
	time.Sleep(50 * time.Millisecond)
	if status, body := f.ask("GET", "/app.git/info/refs?service=git-upload-pack", testUser, testPassword); status != 200 {
		t.Errorf("after the idle limit: %d %s", status, body)
	}
}

func TestNoMoreThanTheLimitAtOneTime(t *testing.T) {
	f := start(t, func(cfg *settings) { cfg.concurrency, cfg.queueLimit = 1, 100*time.Millisecond })
	stalled := f.stalled()
	refs := "/app.git/info/refs?service=git-upload-pack"
	await(t, "the second is refused", func() bool {
		status, _ := f.ask("GET", refs, testUser, testPassword)
		return status == 503
	})
	stalled.Close()
	await(t, "the place is free again", func() bool {
		status, _ := f.ask("GET", refs, testUser, testPassword)
		return status == 200
	})
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

func TestCreateRepositoryKeepsWhatIsThere(t *testing.T) {
	f := startPlain(t)
	before := must(t, f.seeded(), "rev-parse", "HEAD")
	half := filepath.Join(f.cfg.root, ".other.new")
	if err := os.MkdirAll(filepath.Join(half, "left-over"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app", "other"} {
		made, err := createRepository(t.Context(), f.cfg.root, name)
		if err != nil || made != (name == "other") {
			t.Fatalf("%s: made %v, %v", name, made, err)
		}
	}
	if got := must(t, repositoryPath(f.cfg.root, "app"), "rev-parse", "main"); got != before {
		t.Errorf("main is %s, was %s", got, before)
	}
	if head := must(t, repositoryPath(f.cfg.root, "other"), "symbolic-ref", "HEAD"); head != "refs/heads/main" {
		t.Errorf("HEAD is %s", head)
	}
	if _, err := os.Stat(half); err == nil {
		t.Error("the half-made repository is still there")
	}
}

func TestSettingsNameEveryFault(t *testing.T) {
	env := map[string]string{"REPOSITORIES": "ok, ../x a.git", "MAX_CONCURRENT": "0", "IDLE_LIMIT": "long",
		"WEBHOOK_URL": "listener:8080"}
	_, err := readSettings(func(name string) string { return env[name] })
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, part := range []string{`"../x"`, `"a.git"`, "MAX_CONCURRENT", "IDLE_LIMIT", "WEBHOOK_URL", "CLONE_URL"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s is not named in %v", part, err)
		}
	}
}

func TestStopLetsARunningPushFinish(t *testing.T) {
	f := startPlain(t)
	dir := f.seeded()
	s, err := newServer(t.Context(), f.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.base.Host = listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, s) }()

	// The hook holds the push open until the server has been told to stop.
	hooks := filepath.Join(repositoryPath(f.cfg.root, "app"), "hooks")
	begun := filepath.Join(t.TempDir(), "begun")
	script := fmt.Sprintf("#!/bin/sh\n: > %s\nsleep 0.5\n", begun)
	if err := os.MkdirAll(hooks, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(hooks, "pre-receive"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	wanted := commit(t, dir, "second", []byte("two\n"))
	pushed := make(chan error, 1)
	go func() {
		output, err := userGit(t, dir, "push", f.url("app"), "main")
		if err != nil {
			err = fmt.Errorf("%w: %s", err, output)
		}
		pushed <- err
	}()
	await(t, "the push runs", func() bool { _, err := os.Stat(begun); return err == nil })
	stop()
	if err := <-pushed; err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
	if got := must(t, repositoryPath(f.cfg.root, "app"), "rev-parse", "main"); got != wanted {
		t.Errorf("main is %s, want %s", got, wanted)
	}
}
