package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// accountDir is where Kubernetes mounts the service account.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// requestLimit is for one answer of the API server; a watch, which waits on purpose, gets it on top of its own limit.
const requestLimit = 15 * time.Second

// cluster reads nodes from the API server.
type cluster struct {
	base       string // https://host:port
	accountDir string
	client     *http.Client
}

// newCluster reads the CA; the token is read for each request, for the kubelet renews it.
func newCluster(base, accountDir string) (*cluster, error) {
	pem, err := os.ReadFile(filepath.Join(accountDir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	transport := &http.Transport{
		// No proxy: the API server is inside, whatever the node's environment says.
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 5 * time.Second,
	}
	return &cluster{base, accountDir, &http.Client{Transport: transport}}, nil
}

// close lets go of idle connections, for a client that is being replaced.
func (c *cluster) close() { c.client.CloseIdleConnections() }

// nodeList is the part of the API's NodeList that matters here.
type nodeList struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Spec struct {
			PodCIDRs []string `json:"podCIDRs"`
		} `json:"spec"`
		Status struct {
			Addresses []struct {
				Type    string `json:"type"`
				Address string `json:"address"`
			} `json:"addresses"`
		} `json:"status"`
	} `json:"items"`
}

// nodes are all nodes and the version of the list, where a watch can begin.
func (c *cluster) nodes(ctx context.Context) ([]node, string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	// Version 0: from the API server's memory, without a question to etcd.
	answer, err := c.get(ctx, url.Values{"resourceVersion": {"0"}})
	if err != nil {
		return nil, "", err
	}
	defer answer.Close()
	var list nodeList
	if err := json.NewDecoder(answer).Decode(&list); err != nil {
		return nil, "", fmt.Errorf("list of nodes: %w", err)
	}
	nodes, err := list.parse()
	return nodes, list.Metadata.ResourceVersion, err
}

func (l nodeList) parse() ([]node, error) {
	nodes := make([]node, 0, len(l.Items))
	for _, item := range l.Items {
		n := node{name: item.Metadata.Name}
		for _, text := range item.Spec.PodCIDRs {
			pods, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("node %s: %w", n.name, err)
			}
			n.podCIDRs = append(n.podCIDRs, pods)
		}
		for _, entry := range item.Status.Addresses {
			if entry.Type != "InternalIP" {
				continue
			}
			address, err := netip.ParseAddr(entry.Address)
			if err != nil {
				return nil, fmt.Errorf("node %s: %w", n.name, err)
			}
			n.addresses = append(n.addresses, address.Unmap())
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// awaitChange returns at the first change of any node after version, and at the latest after limit.
// What has changed is not looked at: the next list tells.
func (c *cluster) awaitChange(ctx context.Context, version string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit+requestLimit)
	defer cancel()
	answer, err := c.get(ctx, url.Values{
		"watch": {"true"}, "resourceVersion": {version}, "timeoutSeconds": {fmt.Sprint(int(limit.Seconds()))},
	})
	if err != nil {
		return err
	}
	defer answer.Close()
	if _, err := answer.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("watch of nodes: %w", err)
	}
	return nil
}

// get is a GET of the nodes; its body is the caller's to close.
func (c *cluster) get(ctx context.Context, query url.Values) (io.ReadCloser, error) {
	token, err := os.ReadFile(filepath.Join(c.accountDir, "token"))
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/nodes?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	answer, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 512))
		answer.Body.Close()
		return nil, fmt.Errorf("API server: %s: %s", answer.Status, strings.TrimSpace(string(said)))
	}
	return answer.Body, nil
}
