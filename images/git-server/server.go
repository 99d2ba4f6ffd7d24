package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cgi"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// gitPath is everything that smart HTTP asks for. Whatever does not look like it is not there.
var gitPath = regexp.MustCompile(`^/(` + repositoryName + `)\.git/(info/refs|git-upload-pack|git-receive-pack)$`)

// newName is that of a repository that somebody asks for, narrower than repositoryName: in lower case and no longer than
// a label, as objects in Kubernetes and images are named.
var newName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// isNewName refuses ".git" at the end too, as REPOSITORIES does: addresses are compared without it, and x.git.git would
// be x.
func isNewName(name string) bool {
	return newName.MatchString(name) && !strings.Contains(name, "..") && !strings.HasSuffix(name, ".git")
}

var (
	errTooMany = errors.New("too many clones and pushes at this time")
	errNewName = errors.New("a repository's name is 1 to 63 of a-z, 0-9, '.' and '-', begins and ends with a letter or digit, " +
		"and has neither '..' in it nor '.git' at its end")
)

// passedHeaders are all that git's http-backend sees of a request: never the Authorization.
var passedHeaders = []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Encoding", "Content-Type", "Git-Protocol", "User-Agent"}

type server struct {
	cfg     settings
	log     *slog.Logger
	backend string
	slots   chan struct{}
	hooks   *hookServer // nil: nobody is told of a push
	making  sync.Mutex  // one repository at a time
}

// newServer looks for git's http-backend and raises an error where git is not installed.
// What it starts to tell of pushes ends with ctx and close.
func newServer(ctx context.Context, cfg settings, log *slog.Logger) (*server, error) {
	backend, err := backendPath(ctx)
	if err != nil {
		return nil, err
	}
	s := &server{cfg: cfg, log: log, backend: backend, slots: make(chan struct{}, cfg.concurrency)}
	if cfg.webhook.url == "" {
		return s, nil
	}
	told, err := newWebhook(cfg.webhook, cfg.root, log)
	if err != nil {
		return nil, err
	}
	s.hooks, err = serveHook(log, told.tell)
	go told.run(ctx)
	return s, err
}

func (s *server) close() {
	if s.hooks != nil {
		s.hooks.close()
	}
}

func (s *server) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		answer := &movingAnswer{ResponseWriter: w, control: control, idle: s.cfg.idleLimit}
		_ = control.SetWriteDeadline(time.Now().Add(s.cfg.idleLimit))
		if r.URL.Path == "/healthz" {
			s.health(answer)
			return
		}
		s.logged(answer, r)
		// What is still in net/http's buffer must go out, however long git took for its last words.
		_ = control.SetWriteDeadline(time.Now().Add(s.cfg.idleLimit))
	})
}

func (s *server) health(w http.ResponseWriter) {
	if _, err := os.Stat(s.cfg.root); err != nil {
		http.Error(w, "the directory of the repositories is not there", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// logged answers and writes one line about it. The query is left out but for git's own word.
func (s *server) logged(w *movingAnswer, r *http.Request) {
	begin := time.Now()
	body := &movingBody{ReadCloser: r.Body, control: w.control, idle: s.cfg.idleLimit}
	r.Body = body
	said := &tail{}
	s.answer(w, r, said)
	line := s.log.With("method", r.Method, "path", r.URL.Path, "service", serviceOf(r), "status", w.status,
		"received", body.bytes, "sent", w.bytes, "seconds", time.Since(begin).Seconds(), "remote", r.RemoteAddr)
	if len(said.kept) > 0 {
		line.Warn("request", "git", string(said.kept))
		return
	}
	line.Info("request")
}

func (s *server) answer(w *movingAnswer, r *http.Request, said io.Writer) {
	wanted, err := readCredentials(s.cfg.credentialsDir)
	if err != nil {
		s.log.Error("credentials cannot be read", "error", err.Error())
		http.Error(w, "the server has no credentials to compare with", http.StatusServiceUnavailable)
		return
	}
	if !wanted.match(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="git", charset="UTF-8"`)
		http.Error(w, "username and password, please", http.StatusUnauthorized)
		return
	}
	if name, named := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/"), ".git"); named && r.Method == http.MethodPut {
		s.putRepository(w, r, name, said)
		return
	}
	parts := gitPath.FindStringSubmatch(r.URL.Path)
	if parts == nil || !repositoryExists(s.cfg.root, parts[1]) || serviceOf(r) == "" {
		http.NotFound(w, r)
		return
	}
	if !s.takeSlot(r.Context()) {
		tooMany(w)
		return
	}
	defer func() { <-s.slots }()
	s.runBackend(w, r, wanted.username, said)
}

func tooMany(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "10")
	http.Error(w, errTooMany.Error(), http.StatusServiceUnavailable)
}

// putRepository makes an empty repository. One that is there is as good: whoever got no answer asks again.
func (s *server) putRepository(w *movingAnswer, r *http.Request, name string, said io.Writer) {
	made, err := s.makeRepository(r.Context(), name)
	// A body is of no use here, but net/http reads it to its end before the answer goes out, and by itself without limit.
	_ = w.control.SetReadDeadline(time.Now().Add(s.cfg.idleLimit))
	switch {
	case errors.Is(err, errNewName):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, errTooMany):
		tooMany(w)
	case err != nil:
		_, _ = io.WriteString(said, err.Error())
		http.Error(w, "the repository cannot be made, the server's log says why", http.StatusInternalServerError)
	case made:
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "the repository %s is made\n", name)
	default:
		_, _ = fmt.Fprintf(w, "the repository %s is there already\n", name)
	}
}

// makeRepository has given back its slot before anything is answered: the answer may have to wait for the client.
func (s *server) makeRepository(ctx context.Context, name string) (made bool, err error) {
	if !isNewName(name) {
		return false, errNewName
	}
	if !s.takeSlot(ctx) {
		return false, errTooMany
	}
	defer func() { <-s.slots }()
	s.making.Lock()
	defer s.making.Unlock()
	return createRepository(ctx, s.cfg.root, name)
}

// serviceOf is the git service that a request is for; "" for a request that is none of smart HTTP's three.
func serviceOf(r *http.Request) string {
	parts := gitPath.FindStringSubmatch(r.URL.Path)
	service := r.URL.Query().Get("service")
	switch {
	case parts == nil:
	case r.Method == http.MethodPost && parts[2] != "info/refs":
		return parts[2]
	case r.Method == http.MethodGet && parts[2] == "info/refs" && (service == "git-upload-pack" || service == "git-receive-pack"):
		return service
	}
	return ""
}

func (s *server) takeSlot(ctx context.Context) bool {
	limit := time.NewTimer(s.cfg.queueLimit)
	defer limit.Stop()
	select {
	case s.slots <- struct{}{}:
		return true
	case <-limit.C:
	case <-ctx.Done():
	}
	return false
}

func (s *server) runBackend(w *movingAnswer, r *http.Request, username string, said io.Writer) {
	// http-backend answers before it has read the whole push; without this net/http
	// would then swallow the rest of the body itself.
	_ = w.control.EnableFullDuplex()
	backend := &cgi.Handler{
		Path:   s.backend,
		Dir:    s.cfg.root,
		Env:    append(gitEnvironment(s.hooks.config()...), "GIT_PROJECT_ROOT="+s.cfg.root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER="+username),
		Logger: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		Stderr: said,
	}
	backend.ServeHTTP(w, forBackend(r))
}

// forBackend is the request as net/http/cgi is to see it.
func forBackend(r *http.Request) *http.Request {
	passed := r.Clone(r.Context())
	passed.Header = http.Header{}
	for _, name := range passedHeaders {
		if values := r.Header.Values(name); len(values) > 0 {
			passed.Header[name] = values
		}
	}
	// A push larger than git's postBuffer comes in chunks, with no length. net/http/cgi refuses that
	// on sight; http-backend, told no CONTENT_LENGTH, reads to the end of its input, which is right.
	passed.TransferEncoding = nil
	// And it is right for every body: told a length, http-backend spins forever over a push
	// whose client went away, for it takes the end of its input for a read of nothing.
	if passed.ContentLength > 0 {
		passed.ContentLength = -1
	}
	return passed
}
