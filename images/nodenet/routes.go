package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// node is what a route needs to know of a Kubernetes node.
type node struct {
	name      string
	podCIDRs  []netip.Prefix
	addresses []netip.Addr // of type InternalIP
}

// route leads to the pods of another node.
type route struct {
	pods    netip.Prefix
	gateway netip.Addr
}

func (r route) String() string { return fmt.Sprintf("%s via %s", r.pods, r.gateway) }

// wantedRoutes is one route for each pod range of every other node, in a fixed order. A node that
// has no range or no address of the same family yet is left out: it comes with the next look.
// It is an error when the node called own is not among nodes, for its own range would then get a route too.
func wantedRoutes(nodes []node, own string) ([]route, error) {
	if !slices.ContainsFunc(nodes, func(n node) bool { return n.name == own }) {
		return nil, fmt.Errorf("this node, %q, is not among the %d that the API server lists", own, len(nodes))
	}
	var wanted []route
	for _, n := range nodes {
		if n.name == own {
			continue
		}
		for _, pods := range n.podCIDRs {
			if gateway, found := addressFor(n, pods); found {
				wanted = append(wanted, route{pods.Masked(), gateway})
			}
		}
	}
	slices.SortFunc(wanted, compareRoutes)
	return slices.Compact(wanted), nil
}

// addressFor is the node's first address of the same family as the range.
func addressFor(n node, pods netip.Prefix) (netip.Addr, bool) {
	at := slices.IndexFunc(n.addresses, func(a netip.Addr) bool { return a.Is4() == pods.Addr().Is4() })
	if at < 0 {
		return netip.Addr{}, false
	}
	return n.addresses[at], true
}

func compareRoutes(a, b route) int {
	return cmp.Or(a.pods.Addr().Compare(b.pods.Addr()), cmp.Compare(a.pods.Bits(), b.pods.Bits()), a.gateway.Compare(b.gateway))
}

// diff tells which routes to set and which to remove so that present becomes wanted.
func diff(wanted, present []route) (set, remove []route) {
	return without(wanted, present), without(present, wanted)
}

func without(all, left []route) []route {
	return slices.DeleteFunc(slices.Clone(all), func(r route) bool { return slices.Contains(left, r) })
}
