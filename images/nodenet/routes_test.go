package main

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func r(pods, gateway string) route {
	return route{netip.MustParsePrefix(pods), netip.MustParseAddr(gateway)}
}

func n(name string, addresses, pods string) node {
	made := node{name: name}
	for _, text := range strings.Fields(addresses) {
		made.addresses = append(made.addresses, netip.MustParseAddr(text))
	}
	for _, text := range strings.Fields(pods) {
		made.podCIDRs = append(made.podCIDRs, netip.MustParsePrefix(text))
	}
	return made
}

func TestWantedRoutes(t *testing.T) {
	own := n("own", "172.18.0.2", "10.244.0.0/24")
	for name, c := range map[string]struct {
		nodes []node
		want  []route
	}{
		"alone":                     {[]node{own}, nil},
		"one other":                 {[]node{own, n("b", "172.18.0.3", "10.244.1.0/24")}, []route{r("10.244.1.0/24", "172.18.0.3")}},
		"in a fixed order":          {[]node{n("c", "172.18.0.4", "10.244.2.0/24"), n("b", "172.18.0.3", "10.244.1.0/24"), own}, []route{r("10.244.1.0/24", "172.18.0.3"), r("10.244.2.0/24", "172.18.0.4")}},
		"no range yet":              {[]node{own, n("b", "172.18.0.3", "")}, nil},
		"no address yet":            {[]node{own, n("b", "", "10.244.1.0/24")}, nil},
		"first of two addresses":    {[]node{own, n("b", "172.18.0.3 172.18.0.9", "10.244.1.0/24")}, []route{r("10.244.1.0/24", "172.18.0.3")}},
		"host bits are cut":         {[]node{own, n("b", "172.18.0.3", "10.244.1.7/24")}, []route{r("10.244.1.0/24", "172.18.0.3")}},
		"both families":             {[]node{own, n("b", "172.18.0.3 fc00::3", "fd00:1::/64 10.244.1.0/24")}, []route{r("10.244.1.0/24", "172.18.0.3"), r("fd00:1::/64", "fc00::3")}},
		"family without an address": {[]node{own, n("b", "172.18.0.3", "fd00:1::/64 10.244.1.0/24")}, []route{r("10.244.1.0/24", "172.18.0.3")}},
	} {
		got, err := wantedRoutes(c.nodes, "own")
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
	}
}

func TestOwnNodeMustBeListed(t *testing.T) {
	got, err := wantedRoutes([]node{n("b", "172.18.0.3", "10.244.1.0/24")}, "own")
	if err == nil || !strings.Contains(err.Error(), `"own"`) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDiff(t *testing.T) {
	a, b, movedB := r("10.244.1.0/24", "172.18.0.3"), r("10.244.2.0/24", "172.18.0.4"), r("10.244.2.0/24", "172.18.0.9")
	for name, c := range map[string]struct{ wanted, present, set, remove []route }{
		"nothing":        {},
		"all right":      {wanted: []route{a, b}, present: []route{b, a}},
		"first look":     {wanted: []route{a, b}, set: []route{a, b}},
		"node is gone":   {wanted: []route{a}, present: []route{a, b}, remove: []route{b}},
		"node has moved": {wanted: []route{a, movedB}, present: []route{a, b}, set: []route{movedB}, remove: []route{b}},
		"everybody left": {present: []route{a, b}, remove: []route{a, b}},
		"one is missing": {wanted: []route{a, b}, present: []route{a}, set: []route{b}},
	} {
		set, remove := diff(c.wanted, c.present)
		if len(set)+len(c.set) > 0 && !reflect.DeepEqual(set, c.set) {
			t.Errorf("%s: set %v, want %v", name, set, c.set)
		}
		if len(remove)+len(c.remove) > 0 && !reflect.DeepEqual(remove, c.remove) {
			t.Errorf("%s: remove %v, want %v", name, remove, c.remove)
		}
	}
}
