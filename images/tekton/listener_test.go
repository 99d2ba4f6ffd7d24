// Package tekton asks Triggers' own code what it makes of tests/events.yaml, by the listener of manifests/listener.
package tekton

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/tektoncd/triggers/pkg/apis/triggers/contexts"
	"github.com/tektoncd/triggers/pkg/apis/triggers/v1beta1"
	"github.com/tektoncd/triggers/pkg/interceptors"
	"github.com/tektoncd/triggers/pkg/interceptors/cel"
	"github.com/tektoncd/triggers/pkg/interceptors/github"
	"github.com/tektoncd/triggers/pkg/interceptors/gitlab"
	"github.com/tektoncd/triggers/pkg/template"
	"sigs.k8s.io/yaml"
)

const (
	tests  = "../../tests"
	secret = "open sesame"
)

type table struct {
	Commit     string
	Proofs     map[string]proof
	Deliveries map[string]delivery
	Events     []event
	Paths      []event
	SSH        []told
	// Of Python's function that makes the names; what the listener makes of them is in Events.
	Names map[string]string
}

// told is what an event says of a repository's address for ssh, and what that is to the listener.
type told struct {
	Says any
	Is   string
}

// proof is how a host proves a delivery: a header, and what it holds ("hmac" or "secret").
type proof struct {
	Header, Holds string
	Alone         bool
}

type delivery struct {
	Headers map[string]string
	Body    json.RawMessage
}

type event struct {
	Is, Of, Signature, Settings string
	Headers                     map[string]string
	Body                        json.RawMessage
	Stops                       string
	Run, Branch, Label          string
	Starts                      bool
}

func TestEvents(t *testing.T) {
	known := read(t)
	for _, each := range known.Events {
		t.Run(each.Is, func(t *testing.T) {
			body, header := sent(t, known, each)
			gate, made := load(t, or(each.Settings, "listener")).handle(t, body, header)
			if gate != each.Stops {
				t.Fatalf("stops at %q, not at %q", gate, each.Stops)
			}
			if each.Stops != "" {
				return
			}
			var sent struct {
				Repository struct {
					CloneURL string `json:"clone_url"`
				}
				Project struct {
					URL string `json:"git_http_url"`
				}
				After string
			}
			if err := json.Unmarshal(body, &sent); err != nil {
				t.Fatal(err)
			}
			url, commit := or(sent.Repository.CloneURL, sent.Project.URL), or(sent.After, known.Commit)
			branch := or(each.Branch, "main")
			run := made[len(made)-1]
			run.is(t, "PipelineRun", each.Run, map[string]string{"REPO": url, "REVISION": commit})
			equal(t, "label commit", run.Metadata.Labels["tekton-bootstrap.dev/commit"], commit[:min(63, len(commit))])
			equal(t, "label branch", run.Metadata.Labels["tekton-bootstrap.dev/branch"], or(each.Label, branch))
			equal(t, "annotation branch", run.Metadata.Annotations["tekton-bootstrap.dev/branch"], branch)
			if each.Settings == "listener-more" {
				made[0].is(t, "TaskRun", "", map[string]string{
					"REPOSITORY": url, "COMMIT": commit, "BRANCH": branch, "RUN": each.Run,
				})
			} else if len(made) != 1 {
				t.Errorf("made %d objects", len(made))
			}
		})
	}
}

// TestApplications sends the same events to the Trigger of an application that has the repository and branch of the demo.
func TestApplications(t *testing.T) {
	known := read(t)
	var trigger v1beta1.Trigger
	file(t, "golden/expected/application.yaml", &trigger)
	for _, each := range known.Events {
		if each.Settings != "" {
			continue
		}
		t.Run(each.Is, func(t *testing.T) {
			body, header := sent(t, known, each)
			gate, made := load(t, "listener").of(trigger).handle(t, body, header)
			if gate != each.Stops {
				t.Fatalf("stops at %q, not at %q", gate, each.Stops)
			}
			if each.Stops != "" {
				return
			}
			if len(made) != 1 {
				t.Fatalf("made %d objects", len(made))
			}
			run := made[0]
			commit := run.Metadata.Annotations["tekton-bootstrap.dev/commit"]
			if !strings.HasPrefix(run.Metadata.Name, "orders-"+commit[:12]+"-") || len(run.Metadata.Name) > 63 {
				t.Errorf("name %q", run.Metadata.Name)
			}
			run.is(t, "PipelineRun", run.Metadata.Name, map[string]string{
				"REVISION": commit, "NAMESPACE": "orders", "NAME": "orders", "PORT": "8080", "ROLLOUT_SECONDS": "225",
			})
			equal(t, "status", run.Spec.Status, "PipelineRunPending")
			equal(t, "label application", run.Metadata.Labels["tekton-bootstrap.dev/application"], "orders")
			equal(t, "label environment", run.Metadata.Labels["tekton-bootstrap.dev/environment"], "default")
		})
	}
}

// TestAddressesForSSH sends events of the hosts that tell an address for ssh, whatever it is: none is lost by it.
func TestAddressesForSSH(t *testing.T) {
	known := read(t)
	var trigger v1beta1.Trigger
	file(t, "golden/expected/application-ssh.yaml", &trigger)
	const own = "ssh://git.git.svc.cluster.local/go-echo"
	for host, at := range map[string]struct{ group, object, key string }{
		"github-push": {"github", "repository", "ssh_url"},
		"gitea-push":  {"github", "repository", "ssh_url"},
		"gitlab-push": {"gitlab", "project", "git_ssh_url"},
	} {
		for _, each := range known.SSH {
			t.Run(fmt.Sprint(host, " ", each.Says), func(t *testing.T) {
				patch, err := json.Marshal(map[string]any{at.object: map[string]any{at.key: each.Says}})
				if err != nil {
					t.Fatal(err)
				}
				body, header := sent(t, known, event{Of: host, Body: patch})
				by := load(t, "listener")
				for _, group := range by.groups {
					if group.Name == at.group {
						request := v1beta1.InterceptorRequest{Body: string(body), Header: header, Extensions: map[string]any{}}
						for _, gate := range group.Interceptors {
							for key, value := range process(t, gate, request).Extensions {
								request.Extensions[key] = value
							}
						}
						equal(t, "ssh_address", request.Extensions["ssh_address"], any(each.Is))
					}
				}
				gate, made := by.of(trigger).handle(t, body, header)
				if starts := len(made) == 1; starts != (each.Is == own) {
					t.Fatalf("starts %v; it stops at %q", starts, gate)
				}
				if each.Is == own {
					made[0].is(t, "PipelineRun", made[0].Metadata.Name, map[string]string{
						"REPO": "ssh://git@git.git.svc.cluster.local/go-echo.git", "REVISION": known.Commit,
					})
				}
			})
		}
	}
}

// TestPaths sends pushes to the Trigger of an application that only some files of the demo's repository concern.
func TestPaths(t *testing.T) {
	known := read(t)
	var trigger v1beta1.Trigger
	file(t, "golden/expected/application-paths.yaml", &trigger)
	var many, most []string
	for range 2048 {
		many, most = append(many, `{"added": ["x"]}`), append(most, `"x"`)
	}
	for is, commits := range map[string]string{
		"as many commits as GitHub lists": strings.Join(many, ","),
		"as many files as may be listed":  `{"added": [` + strings.Join(most[:300], ",") + `]}`,
	} {
		body := json.RawMessage(`{"commits": [` + commits + `]}`)
		known.Paths = append(known.Paths, event{Is: is, Of: "github-push", Body: body, Starts: true})
	}
	few := json.RawMessage(`{"commits": [{"added": [` + strings.Join(most[:299], ",") + `]}]}`)
	known.Paths = append(known.Paths, event{Is: "one file less", Of: "github-push", Body: few})
	for _, each := range known.Paths {
		t.Run(each.Is, func(t *testing.T) {
			body, header := sent(t, known, each)
			gate, made := load(t, "listener").of(trigger).handle(t, body, header)
			if starts := len(made) == 1; starts != each.Starts {
				t.Fatalf("starts %v; it stops at %q", starts, gate)
			}
			if !each.Starts && gate != "watched" {
				t.Errorf("stops at %q", gate)
			}
		})
	}
}

func read(t *testing.T) (known table) {
	t.Helper()
	file(t, "events.yaml", &known)
	return known
}

func file(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tests, name))
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sent is the event as it arrives.
func sent(t *testing.T, known table, each event) (body []byte, header http.Header) {
	t.Helper()
	from, proofs := known.Deliveries[each.Of], known.Proofs
	body = from.Body
	if each.Body != nil {
		var err error
		if body, err = jsonpatch.MergePatch(body, each.Body); err != nil {
			t.Fatal(err)
		}
	}
	headers := from.Headers
	if each.Headers != nil {
		headers = each.Headers
	}
	header = http.Header{"Content-Type": {"application/json"}}
	for name, value := range headers {
		header.Set(name, value)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	token := secret
	signed := body
	how, proof := each.Signature, proof{Header: "X-Hub-Signature-256", Holds: "sha256=HMAC"}
	host, fault, _ := strings.Cut(how, "-")
	sender, _, _ := strings.Cut(each.Of, "-")
	if named, found := proofs[host]; found {
		how, proof = fault, named
	} else if proofs[sender].Alone {
		proof = proofs[sender]
	}
	name, prefix := proof.Header, ""
	if proof.Holds == "sha256=HMAC" {
		prefix = "sha256="
	}
	switch how {
	case "none":
		return body, header
	case "wrong":
		token = "another secret"
		mac = hmac.New(sha256.New, []byte(token))
	case "other":
		token = "sha256=" + hex.EncodeToString(mac.Sum(nil))
		signed = []byte("another body")
	case "sha1":
		mac = hmac.New(sha1.New, []byte(secret))
		name, prefix = "X-Hub-Signature", "sha1="
	case "beside":
		header.Set("X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64))
	}
	mac.Write(signed)
	signature := prefix + hex.EncodeToString(mac.Sum(nil))
	if how == "empty" {
		token, signature = "", ""
	}
	if proof.Holds == "secret" {
		signature = token
	}
	header.Set(name, signature)
	return body, header
}

// made is an object that a listener creates.
type made struct {
	Kind     string
	Metadata struct {
		Name                string
		Labels, Annotations map[string]string
	}
	Spec struct {
		Params []struct{ Name, Value string }
		Status string
	}
}

func (m made) is(t *testing.T, kind, name string, params map[string]string) {
	t.Helper()
	equal(t, "kind", m.Kind, kind)
	equal(t, "name", m.Metadata.Name, name)
	found := map[string]string{}
	for _, each := range m.Spec.Params {
		found[each.Name] = each.Value
	}
	for name, wanted := range params {
		equal(t, "parameter "+name, found[name], wanted)
	}
}

type listener struct {
	triggers  []v1beta1.EventListenerTrigger
	groups    []v1beta1.EventListenerTriggerGroup
	binding   *v1beta1.TriggerBinding
	templates map[string]*v1beta1.TriggerTemplate
}

// of is the listener with the Trigger of an application in place of its own: each group's interceptors, then those of
// the Trigger.
func (l listener) of(trigger v1beta1.Trigger) listener {
	l.triggers = nil
	for _, group := range l.groups {
		gates := append(append([]*v1beta1.TriggerInterceptor{}, group.Interceptors...), trigger.Spec.Interceptors...)
		l.triggers = append(l.triggers, v1beta1.EventListenerTrigger{
			Name: group.Name, Interceptors: gates, Bindings: trigger.Spec.Bindings, Template: &trigger.Spec.Template,
		})
	}
	return l
}

// load reads the manifests as they are applied.
func load(t *testing.T, settings string) (found listener) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tests, "golden/expected", settings+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var of v1beta1.EventListener
	found.binding, found.templates = &v1beta1.TriggerBinding{}, map[string]*v1beta1.TriggerTemplate{}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var one struct{ Kind string }
		template := &v1beta1.TriggerTemplate{}
		kinds := map[string]any{"EventListener": &of, "TriggerBinding": found.binding, "TriggerTemplate": template}
		err := yaml.Unmarshal(document, &one)
		if into, wanted := kinds[one.Kind]; wanted && err == nil {
			err = yaml.UnmarshalStrict(document, into)
		}
		if err != nil {
			t.Fatal(err)
		}
		found.templates[template.Name] = template
	}
	of.SetDefaults(contexts.WithUpgradeViaDefaulting(context.Background()))
	if err := of.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	found.triggers, found.groups = of.Spec.Triggers, of.Spec.TriggerGroups
	return found
}

// handle is what the listener's program does with an event: the gate that it came to, "" if it passed all of some
// trigger, and what that trigger makes of it.
func (l listener) handle(t *testing.T, body []byte, header http.Header) (string, []made) {
	t.Helper()
	furthest, gate := -1, ""
	for _, trigger := range l.triggers {
		request := v1beta1.InterceptorRequest{Body: string(body), Header: header, Extensions: map[string]any{}}
		passed := 0
		for _, each := range trigger.Interceptors {
			answer := process(t, each, request)
			if !answer.Continue {
				if passed > furthest {
					furthest, gate = passed, *each.Name
				}
				break
			}
			passed++
			for key, value := range answer.Extensions {
				request.Extensions[key] = value
			}
		}
		if passed == len(trigger.Interceptors) {
			return "", l.create(t, trigger, body, header, request.Extensions)
		}
	}
	return gate, nil
}

func (l listener) create(
	t *testing.T, trigger v1beta1.EventListenerTrigger, body []byte, header http.Header, extensions map[string]any,
) (found []made) {
	t.Helper()
	from := v1beta1.Trigger{Spec: v1beta1.TriggerSpec{Bindings: trigger.Bindings, Template: *trigger.Template}}
	resolved, err := template.ResolveTrigger(from,
		func(name string) (*v1beta1.TriggerBinding, error) { return l.binding, named(name, l.binding.Name) },
		nil,
		func(name string) (*v1beta1.TriggerTemplate, error) {
			if found := l.templates[name]; found != nil {
				return found, nil
			}
			return nil, fmt.Errorf("there is no %s", name)
		})
	if err != nil {
		t.Fatal(err)
	}
	params, err := template.ResolveParams(resolved, body, header, extensions, template.NewTriggerContext("some-id"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range template.ResolveResources(resolved.TriggerTemplate, params) {
		var one made
		if err := json.Unmarshal(text, &one); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "$(tt.") {
			t.Errorf("not filled in: %s", text)
		}
		found = append(found, one)
	}
	return found
}

func named(asked, there string) error {
	if asked != there {
		return fmt.Errorf("there is no %s", asked)
	}
	return nil
}

// process is the answer of Tekton's interceptor.
func process(t *testing.T, each *v1beta1.TriggerInterceptor, request v1beta1.InterceptorRequest) *v1beta1.InterceptorResponse {
	t.Helper()
	request.Context = &v1beta1.TriggerContext{TriggerID: "namespaces/cicd/triggers/any"}
	request.InterceptorParams = interceptors.GetInterceptorParams(each)
	if each.Ref.Kind == v1beta1.NamespacedInterceptorKind {
		answer, err := interceptors.Execute(context.Background(), http.DefaultClient, &request, signature(t))
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	known := map[string]v1beta1.InterceptorInterface{
		"github": github.NewInterceptor(keeper{}),
		"gitlab": gitlab.NewInterceptor(keeper{}),
		"cel":    cel.NewInterceptor(keeper{}),
	}
	return known[each.Ref.Name].Process(context.Background(), &request)
}

// signature is the address of our own interceptor, which is started for the tests.
var signature = func() func(*testing.T) string {
	once, address := sync.Once{}, ""
	return func(t *testing.T) string {
		t.Helper()
		once.Do(func() {
			listens, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			port := strconv.Itoa(listens.Addr().(*net.TCPAddr).Port)
			listens.Close()
			file := filepath.Join(os.TempDir(), "signature-test-"+port)
			if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
				t.Fatal(err)
			}
			program := exec.Command("python3", "-m", "bootstrap.incluster.gitea_signature")
			program.Dir, program.Env = "../..", append(os.Environ(), "PORT="+port, "SECRET="+file)
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			stop = func() {
				program.Process.Kill()
				program.Wait()
				os.Remove(file)
			}
			address = "http://127.0.0.1:" + port
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if answer, err := http.Get(address + "/healthz"); err == nil {
					answer.Body.Close()
					return
				}
			}
		})
		return address
	}
}()

var stop = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stop()
	os.Exit(code)
}

// keeper has the one Secret that a listener may have checked.
type keeper struct{}

func (keeper) Get(_ context.Context, namespace string, wanted *v1beta1.SecretRef) ([]byte, error) {
	if namespace != "cicd" || wanted.SecretName != "webhook" || wanted.SecretKey != "secret" {
		return nil, fmt.Errorf("there is no Secret %s/%s", namespace, wanted.SecretName)
	}
	return []byte(secret), nil
}

func or(text, otherwise string) string {
	if text != "" {
		return text
	}
	return otherwise
}

func equal[T comparable](t *testing.T, what string, found, wanted T) {
	t.Helper()
	if found != wanted {
		t.Errorf("%s is %v, not %v", what, found, wanted)
	}
}
