// Command go-echo is a small web service that answers what it was asked:
// the sample application that a pipeline builds, deploys and proves.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// Both are set at link time: -ldflags "-X main.commit=... -X main.version=...".
var (
	commit  = "unknown"
	version = "1.0.0"
)

// maxBody is the largest request body that /echo reads back, in bytes.
const maxBody = 1 << 20

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	if err := run(log); err != nil {
		log.Error("stopped", "error", err.Error())
		os.Exit(1)
	}
}

func run(log *slog.Logger) error {
	cfg, err := readSettings(os.Getenv)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	// After the first signal the default is back: a second one ends the program at once.
	context.AfterFunc(ctx, stop)

	listener, err := net.Listen("tcp", net.JoinHostPort("", cfg.port))
	if err != nil {
		return err
	}
	log.Info("listening", "address", listener.Addr().String(), "commit", commit, "version", version)
	return serve(ctx, listener, newApp(log), cfg)
}

// settings come from the environment; every one has a default.
type settings struct {
	port       string        // PORT
	drainDelay time.Duration // DRAIN_DELAY: between "not ready" and closing the port
	stopLimit  time.Duration // STOP_LIMIT: for requests that are still running then
}

func readSettings(getenv func(string) string) (settings, error) {
	cfg := settings{port: "8080", drainDelay: 2 * time.Second, stopLimit: 5 * time.Second}
	if port := getenv("PORT"); port != "" {
		cfg.port = port
	}
	drainErr := readDuration(getenv, "DRAIN_DELAY", &cfg.drainDelay)
	stopErr := readDuration(getenv, "STOP_LIMIT", &cfg.stopLimit)
	return cfg, errors.Join(drainErr, stopErr)
}

func readDuration(getenv func(string) string, name string, into *time.Duration) error {
	text := getenv(name)
	if text == "" {
		return nil
	}
	value, err := time.ParseDuration(text)
	if err != nil || value < 0 {
		return fmt.Errorf("%s=%q: expected a duration such as 2s or 500ms", name, text)
	}
	*into = value
	return nil
}

// serve answers on listener until ctx ends, then stops in the order that loses no request:
// first "not ready", then a pause in which load balancers notice, then the port is closed
// and running requests get cfg.stopLimit to finish.
func serve(ctx context.Context, listener net.Listener, a *app, cfg settings) error {
	server := &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	a.stopping.Store(true)
	a.log.Info("stopping", "drain_delay", cfg.drainDelay.String(), "stop_limit", cfg.stopLimit.String())
	time.Sleep(cfg.drainDelay)
	limited, cancel := context.WithTimeout(context.Background(), cfg.stopLimit)
	defer cancel()
	return server.Shutdown(limited)
}

type app struct {
	log      *slog.Logger
	stopping atomic.Bool
}

func newApp(log *slog.Logger) *app {
	return &app{log: log}
}

func (a *app) handler() http.Handler {
	public := http.NewServeMux()
	public.HandleFunc("GET /ping", ping)
	public.HandleFunc("GET /version", showVersion)
	public.HandleFunc("/echo", echo)

	all := http.NewServeMux()
	// Probes come every second or so; in the access log they would bury the requests of users.
	all.HandleFunc("GET /healthz", alive)
	all.HandleFunc("GET /readyz", a.ready)
	all.Handle("/", a.accessLog(public))
	return all
}

func ping(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "pong")
}

func alive(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "alive")
}

func (a *app) ready(w http.ResponseWriter, _ *http.Request) {
	if a.stopping.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ready")
}

func showVersion(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"commit": commit, "version": version})
}

// echoed is the answer of /echo.
type echoed struct {
	Method  string              `json:"method"`
	Path    string              `json:"path"`
	Host    string              `json:"host"`
	Query   map[string][]string `json:"query"`
	Headers map[string][]string `json:"headers"`
	Body    string              `json:"body"`
}

// bodies bounds how many bodies are in memory at once: one takes several times its size while it becomes JSON.
var bodies = make(chan struct{}, 2)

func echo(w http.ResponseWriter, r *http.Request) {
	select {
	case bodies <- struct{}{}:
		defer func() { <-bodies }()
	case <-r.Context().Done():
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		message := fmt.Sprintf("body is larger than %d bytes", tooLarge.Limit)
		writeJSON(w, http.StatusRequestEntityTooLarge, map[string]string{"error": message})
		return
	}
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "body could not be read"})
		return
	}
	writeJSON(w, http.StatusOK, echoed{
		Method: r.Method, Path: r.URL.Path, Host: r.Host,
		Query: r.URL.Query(), Headers: r.Header, Body: string(body),
	})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The only error left is a client that went away, and nobody is there to be told.
	_ = json.NewEncoder(w).Encode(value)
}

// accessLog writes one line per request: no query, no headers, no body, for those may hold secrets.
func (a *app) accessLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r)
		a.log.Info("request", "method", r.Method, "path", r.URL.Path, "status", recorder.status,
			"bytes", recorder.bytes, "seconds", time.Since(begin).Seconds(), "remote", r.RemoteAddr)
	})
}

// statusRecorder remembers what was answered, for the access log.
type statusRecorder struct {
	http.ResponseWriter
	status int
	bytes  int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusRecorder) Write(data []byte) (int, error) {
	n, err := s.ResponseWriter.Write(data)
	s.bytes += n
	return n, err
}

// Unwrap lets net/http find the connection behind the recorder, which MaxBytesReader closes.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }
