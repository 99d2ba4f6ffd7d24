package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.NewJSONHandler(io.Discard, nil)) }

func ask(t *testing.T, a *app, method, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	request.Header.Set("X-Colour", "green")
	a.handler().ServeHTTP(answer, request)
	return answer
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		method, target string
		status         int
		body           string
	}{
		{"GET", "/ping", 200, "pong"},
		{"GET", "/healthz", 200, "alive"},
		{"GET", "/readyz", 200, "ready"},
		{"GET", "/version", 200, `{"commit":"unknown","version":"1.0.0"}` + "\n"},
		{"POST", "/ping", 405, "Method Not Allowed\n"},
		{"GET", "/nowhere", 404, "404 page not found\n"},
	} {
		answer := ask(t, newApp(quiet()), c.method, c.target, "")
		if answer.Code != c.status || answer.Body.String() != c.body {
			t.Errorf("%s %s: got %d %q, want %d %q", c.method, c.target, answer.Code, answer.Body, c.status, c.body)
		}
	}
}

func TestEchoGivesEverythingBack(t *testing.T) {
	answer := ask(t, newApp(quiet()), "PUT", "/echo?a=1&a=2", "hello")
	var got echoed
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Method != "PUT" || got.Path != "/echo" || got.Body != "hello" || got.Host != "example.com" {
		t.Errorf("got %+v", got)
	}
	if strings.Join(got.Query["a"], ",") != "1,2" || got.Headers["X-Colour"][0] != "green" {
		t.Errorf("query %v, headers %v", got.Query, got.Headers)
	}
	if kind := answer.Header().Get("Content-Type"); kind != "application/json" {
		t.Errorf("content type %q", kind)
	}
}

func TestEchoLimitsTheBody(t *testing.T) {
	for size, status := range map[int]int{maxBody: 200, maxBody + 1: 413} {
		answer := ask(t, newApp(quiet()), "POST", "/echo", strings.Repeat("x", size))
		if answer.Code != status {
			t.Errorf("%d bytes: got %d, want %d", size, answer.Code, status)
		}
	}
}

// heldBody says that it is read, and gives nothing before it is let.
type heldBody struct {
	read chan<- struct{}
	let  <-chan struct{}
}

func (b heldBody) Read([]byte) (int, error) {
	b.read <- struct{}{}
	<-b.let
	return 0, io.EOF
}

// Eight bodies of 1 MiB at once took more memory than the container has.
func TestEchoReadsTwoBodiesAtOnce(t *testing.T) {
	const count = 8
	handler, read, let := newApp(quiet()).handler(), make(chan struct{}, count), make(chan struct{})
	var all sync.WaitGroup
	for range count {
		all.Add(1)
		go func() {
			defer all.Done()
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/echo", heldBody{read, let}))
		}()
	}
	for range cap(bodies) {
		<-read
	}
	select {
	case <-read:
		t.Error("one more body is read")
	case <-time.After(200 * time.Millisecond):
	}
	close(let)
	all.Wait()
	if left := len(read); left != count-cap(bodies) {
		t.Errorf("%d of the other %d bodies were read afterwards", left, count-cap(bodies))
	}
}

func TestAccessLogHoldsNoSecrets(t *testing.T) {
	var lines bytes.Buffer
	ask(t, newApp(slog.New(slog.NewJSONHandler(&lines, nil))), "POST", "/echo?token=hidden", "hidden")
	var line map[string]any
	if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, lines.String())
	}
	if line["path"] != "/echo" || line["status"] != 200.0 {
		t.Errorf("got %v", line)
	}
	if strings.Contains(lines.String(), "hidden") || strings.Contains(lines.String(), "green") {
		t.Errorf("query, header or body in the log: %s", lines.String())
	}
}

func TestProbesAreNotLogged(t *testing.T) {
	var lines bytes.Buffer
	a := newApp(slog.New(slog.NewJSONHandler(&lines, nil)))
	ask(t, a, "GET", "/healthz", "")
	ask(t, a, "GET", "/readyz", "")
	if lines.Len() > 0 {
		t.Errorf("got %s", lines.String())
	}
}

func TestSettings(t *testing.T) {
	env := map[string]string{"PORT": "9000", "DRAIN_DELAY": "50ms"}
	cfg, err := readSettings(func(name string) string { return env[name] })
	if err != nil || cfg != (settings{"9000", 50 * time.Millisecond, 5 * time.Second}) {
		t.Errorf("got %+v, %v", cfg, err)
	}
	env = map[string]string{"DRAIN_DELAY": "soon", "STOP_LIMIT": "-1s"}
	_, err = readSettings(func(name string) string { return env[name] })
	if err == nil || !strings.Contains(err.Error(), "DRAIN_DELAY") || !strings.Contains(err.Error(), "STOP_LIMIT") {
		t.Errorf("both faults should be named: %v", err)
	}
}

// A stop turns readiness off at once, goes on answering during the delay, and lets a running request finish.
func TestGracefulStop(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, listener, newApp(quiet()), settings{"", 300 * time.Millisecond, 5 * time.Second})
	}()

	slowBody, finishBody := io.Pipe()
	slow := make(chan string, 1)
	go func() {
		response, err := http.Post(base+"/echo", "text/plain", slowBody)
		if err != nil {
			slow <- err.Error()
			return
		}
		defer response.Body.Close()
		slow <- response.Status
	}()
	_, _ = finishBody.Write([]byte("begun "))

	stop()
	await(t, func() bool { return status(base+"/readyz") == 503 })
	if got := status(base + "/ping"); got != 200 {
		t.Errorf("during the drain delay /ping gave %d", got)
	}
	await(t, func() bool { return status(base+"/ping") == 0 })
	select {
	case err := <-ended:
		t.Fatalf("stopped (%v) while a request was running", err)
	default:
	}
	_, _ = finishBody.Write([]byte("ended"))
	_ = finishBody.Close()
	if got := <-slow; got != "200 OK" {
		t.Errorf("the running request got %s", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// status is the HTTP status of a GET on a fresh connection, 0 if nothing listens.
func status(url string) int {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

func await(t *testing.T, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatal("condition did not come true within 5 s")
}

func TestProgramCarriesItsCommitAndEndsOnSIGTERM(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "go-echo")
	build := exec.Command("go", "build", "-ldflags", "-X main.commit=0123abc", "-o", binary, ".")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strings.TrimPrefix(listener.Addr().String(), "127.0.0.1:")
	listener.Close()

	program := exec.Command(binary)
	program.Env = append(os.Environ(), "PORT="+port, "DRAIN_DELAY=0s")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Process.Kill() }()
	await(t, func() bool { return status("http://127.0.0.1:"+port+"/readyz") == 200 })
	response, err := http.Get("http://127.0.0.1:" + port + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if !strings.Contains(string(body), `"commit":"0123abc"`) {
		t.Errorf("got %s", body)
	}
	_ = program.Process.Signal(syscall.SIGTERM)
	if err := program.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
