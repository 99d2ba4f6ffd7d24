package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// apiServer is the little of Kubernetes that nodenet talks to; each edit of its nodes ends the watches.
type apiServer struct {
	t       *testing.T
	web     *httptest.Server
	account string

	mutex   sync.Mutex
	nodes   []map[string]any
	version int
	changed chan struct{}
	token   string
	lists   int
}

func startAPI(t *testing.T) *apiServer {
	t.Helper()
	a := &apiServer{t: t, account: t.TempDir(), changed: make(chan struct{}), version: 1}
	a.web = httptest.NewTLSServer(a)
	t.Cleanup(a.web.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.web.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(a.account, "ca.crt"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	a.rotate("first")
	return a
}

func (a *apiServer) rotate(token string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.token = token
	if err := os.WriteFile(filepath.Join(a.account, "token"), []byte(token+"\n"), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *apiServer) setNodes(nodes ...map[string]any) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.nodes, a.version = nodes, a.version+1
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mutex.Lock()
	nodes, version, changed, token := a.nodes, a.version, a.changed, a.token
	watch := r.URL.Query().Get("watch") == "true"
	if !watch {
		a.lists++
	}
	a.mutex.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+token:
		http.Error(w, "who are you?", http.StatusUnauthorized)
	case r.Method != "GET" || r.URL.Path != "/api/v1/nodes":
		a.t.Errorf("unforeseen %s %s", r.Method, r.URL)
	case !watch:
		list := map[string]any{"metadata": map[string]any{"resourceVersion": fmt.Sprint(version)}, "items": nodes}
		_ = json.NewEncoder(w).Encode(list)
	default:
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		if r.URL.Query().Get("resourceVersion") != fmt.Sprint(version) {
			_, _ = io.WriteString(w, `{"type":"MODIFIED"}`)
			return
		}
		select {
		case <-changed:
			_, _ = io.WriteString(w, `{"type":"MODIFIED"}`)
		case <-r.Context().Done():
		}
	}
}

func apiNode(name, address, pods string) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"name": name},
		"spec":     map[string]any{"podCIDR": pods, "podCIDRs": []string{pods}},
		"status": map[string]any{"addresses": []map[string]any{
			{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address},
		}},
	}
}

// memory is a routing table that only remembers; gateways in broken are refused.
type memory struct {
	mutex  sync.Mutex
	have   []route
	broken string
}

func (m *memory) routes() ([]route, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.Clone(m.have), nil
}

func (m *memory) set(r route) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if r.gateway.String() == m.broken {
		return errors.New("network is unreachable")
	}
	m.have = append(slices.DeleteFunc(m.have, func(old route) bool { return old.pods == r.pods }), r)
	return nil
}

func (m *memory) remove(r route) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.have = slices.DeleteFunc(m.have, func(old route) bool { return old == r })
	return nil
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

// keeping runs a keeper until the test ends.
func keeping(t *testing.T, a *apiServer, m *memory) *lockedBuffer {
	t.Helper()
	log := &lockedBuffer{}
	k := &keeper{own: "own", base: a.web.URL, accountDir: a.account, table: m, log: slog.New(slog.NewJSONHandler(log, nil))}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { k.keep(ctx); close(ended) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Error("the keeper did not end")
		}
	})
	return log
}

func (m *memory) await(t *testing.T, want ...route) {
	t.Helper()
	var got []route
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		got, _ = m.routes()
		slices.SortFunc(got, compareRoutes)
		if len(got)+len(want) == 0 || reflect.DeepEqual(got, want) {
			return
		}
	}
	t.Fatalf("got %v, want %v", got, want)
}

var ownNode = apiNode("own", "172.18.0.2", "10.244.0.0/24")

func TestKeeperFollowsTheNodes(t *testing.T) {
	a, m := startAPI(t), &memory{have: []route{r("10.244.9.0/24", "172.18.0.9")}}
	b, c := apiNode("b", "172.18.0.3", "10.244.1.0/24"), apiNode("c", "172.18.0.4", "10.244.2.0/24")
	a.setNodes(ownNode, b)
	keeping(t, a, m)
	m.await(t, r("10.244.1.0/24", "172.18.0.3")) // and the one of a node that is gone has left
	a.setNodes(ownNode, b, c)
	m.await(t, r("10.244.1.0/24", "172.18.0.3"), r("10.244.2.0/24", "172.18.0.4"))
	a.setNodes(ownNode, apiNode("b", "172.18.0.7", "10.244.1.0/24"))
	m.await(t, r("10.244.1.0/24", "172.18.0.7"))
}

func TestKeeperIsQuietWhileNothingChanges(t *testing.T) {
	a, m := startAPI(t), &memory{}
	a.setNodes(ownNode, apiNode("b", "172.18.0.3", "10.244.1.0/24"))
	keeping(t, a, m)
	m.await(t, r("10.244.1.0/24", "172.18.0.3"))
	time.Sleep(2 * restEvery)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.lists != 1 {
		t.Errorf("%d lists in %s", a.lists, 2*restEvery)
	}
}

func TestKeeperOutlastsTheAPIServerAndKeepsRoutesMeanwhile(t *testing.T) {
	a, m := startAPI(t), &memory{have: []route{r("10.244.1.0/24", "172.18.0.3")}}
	a.setNodes(ownNode, apiNode("b", "172.18.0.3", "10.244.1.0/24"), apiNode("c", "172.18.0.4", "10.244.2.0/24"))
	a.mutex.Lock()
	a.token = "not what the file says"
	a.mutex.Unlock()
	log := keeping(t, a, m)
	for end := time.Now().Add(5 * time.Second); !strings.Contains(log.text(), "401 Unauthorized"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no failure was told: %s", log.text())
		}
	}
	m.await(t, r("10.244.1.0/24", "172.18.0.3"))
	a.rotate("second")
	m.await(t, r("10.244.1.0/24", "172.18.0.3"), r("10.244.2.0/24", "172.18.0.4"))
	if strings.Contains(log.text(), "second") || strings.Count(log.text(), "401 Unauthorized") != 1 {
		t.Errorf("the token, or the same failure twice, is in the log: %s", log.text())
	}
}

func TestOneBrokenRouteDoesNotStopTheOthers(t *testing.T) {
	a, m := startAPI(t), &memory{broken: "172.18.0.3"}
	a.setNodes(ownNode, apiNode("b", "172.18.0.3", "10.244.1.0/24"), apiNode("c", "172.18.0.4", "10.244.2.0/24"))
	keeping(t, a, m)
	m.await(t, r("10.244.2.0/24", "172.18.0.4"))
	m.mutex.Lock()
	m.broken = ""
	m.mutex.Unlock()
	m.await(t, r("10.244.1.0/24", "172.18.0.3"), r("10.244.2.0/24", "172.18.0.4"))
}

func TestKeeperTouchesNothingWhenItsOwnNodeIsUnknown(t *testing.T) {
	a, m := startAPI(t), &memory{have: []route{r("10.244.1.0/24", "172.18.0.3")}}
	a.setNodes(apiNode("b", "172.18.0.3", "10.244.1.0/24"), apiNode("c", "172.18.0.4", "10.244.2.0/24"))
	log := keeping(t, a, m)
	for end := time.Now().Add(5 * time.Second); !strings.Contains(log.text(), "not among"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no failure was told: %s", log.text())
		}
	}
	m.await(t, r("10.244.1.0/24", "172.18.0.3"))
}
