// Command git-server offers the bare repositories of one directory by git's smart HTTP protocol,
// with basic authentication. The protocol itself is spoken by git's own http-backend.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if calledAsHook() {
		runHook()
		return
	}
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	if os.Getpid() == 1 {
		os.Exit(superviseAsProcess1(log))
	}
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

	for _, name := range cfg.repositories {
		made, err := createRepository(ctx, cfg.root, name)
		if err != nil {
			return fmt.Errorf("repository %s: %w", name, err)
		}
		if made {
			log.Info("repository created", "repository", name)
		}
	}
	server, err := newServer(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer server.close()
	listener, err := net.Listen("tcp", net.JoinHostPort("", cfg.port))
	if err != nil {
		return err
	}
	log.Info("listening", "address", listener.Addr().String(), "root", cfg.root, "repositories", cfg.repositories)
	return serve(ctx, listener, server)
}

// serve answers on listener until ctx ends. Running clones and pushes then get the stop limit to finish.
func serve(ctx context.Context, listener net.Listener, s *server) error {
	// No ReadTimeout and no WriteTimeout: a clone may take long as long as it moves, see limits.go.
	web := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.log.Info("stopping", "stop_limit", s.cfg.stopLimit.String())
	limited, cancel := context.WithTimeout(context.Background(), s.cfg.stopLimit)
	defer cancel()
	if err := web.Shutdown(limited); err != nil {
		return errors.Join(err, web.Close())
	}
	return nil
}

// settings come from the environment; every one has a default.
type settings struct {
	port           string        // PORT
	root           string        // GIT_PROJECT_ROOT: directory of the repositories
	credentialsDir string        // CREDENTIALS_DIR: files "username" and "password"
	repositories   []string      // REPOSITORIES: made at start if they are missing; separated by commas or spaces
	concurrency    int           // MAX_CONCURRENT: git processes at one time
	queueLimit     time.Duration // QUEUE_LIMIT: how long a request waits for its turn
	idleLimit      time.Duration // IDLE_LIMIT: how long a client may neither send nor take a byte
	stopLimit      time.Duration // STOP_LIMIT: for requests that are running when the program must stop
	webhook        webhookSettings
}

// repositoryName is what comes before ".git" in an address and in the directory.
const repositoryName = `[A-Za-z0-9][A-Za-z0-9._-]{0,99}`

var wholeRepositoryName = regexp.MustCompile(`^` + repositoryName + `$`)

func readSettings(getenv func(string) string) (settings, error) {
	var faults []error
	text := func(name, preset string) string {
		if value := getenv(name); value != "" {
			return value
		}
		return preset
	}
	duration := func(name, preset string) time.Duration {
		value, err := time.ParseDuration(text(name, preset))
		if err != nil || value <= 0 {
			faults = append(faults, fmt.Errorf("%s=%q: expected a duration such as 30s", name, getenv(name)))
		}
		return value
	}
	hook := webhookSettings{
		url:        getenv("WEBHOOK_URL"),
		secretFile: text("WEBHOOK_SECRET_FILE", "/etc/webhook/secret"),
		cloneBase:  strings.TrimSuffix(getenv("CLONE_URL"), "/"),
		tryLimit:   duration("WEBHOOK_TRY_LIMIT", "10s"),
		ageLimit:   duration("WEBHOOK_AGE_LIMIT", "1h"),
		patience:   3 * time.Second,
		firstPause: time.Second,
		lastPause:  time.Minute,
	}
	if hook.url != "" {
		faults = append(faults, webAddress("WEBHOOK_URL", hook.url), webAddress("CLONE_URL", hook.cloneBase))
	}
	cfg := settings{
		port:           text("PORT", "8080"),
		root:           text("GIT_PROJECT_ROOT", "/data"),
		credentialsDir: text("CREDENTIALS_DIR", "/etc/git-server"),
		queueLimit:     duration("QUEUE_LIMIT", "30s"),
		idleLimit:      duration("IDLE_LIMIT", "2m"),
		stopLimit:      duration("STOP_LIMIT", "20s"),
		webhook:        hook,
	}
	var err error
	if cfg.concurrency, err = strconv.Atoi(text("MAX_CONCURRENT", "16")); err != nil || cfg.concurrency < 1 {
		faults = append(faults, fmt.Errorf("MAX_CONCURRENT=%q: expected a whole number from 1", getenv("MAX_CONCURRENT")))
	}
	cfg.repositories = strings.FieldsFunc(getenv("REPOSITORIES"), func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range cfg.repositories {
		if !wholeRepositoryName.MatchString(name) || strings.HasSuffix(name, ".git") {
			faults = append(faults, fmt.Errorf("REPOSITORIES: %q: expected letters, digits, '.', '_', '-', without .git", name))
		}
	}
	return cfg, errors.Join(faults...)
}

// webAddress does not repeat the value: it may hold a token.
func webAddress(name, value string) error {
	parsed, err := url.Parse(value)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return fmt.Errorf("%s: expected an address such as http://listener:8080", name)
	}
	return nil
}
