package main

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestEncodeRoute(t *testing.T) {
	order := binary.NativeEndian
	header := func(length uint32, kind, flags uint16) []byte {
		message := order.AppendUint32(nil, length)
		message = order.AppendUint16(order.AppendUint16(message, kind), flags)
		return order.AppendUint32(order.AppendUint32(message, 1), 0)
	}
	attribute := func(length, kind uint16) []byte { return order.AppendUint16(order.AppendUint16(nil, length), kind) }
	want := bytes.Join([][]byte{
		header(44, 24, 0x505), // RTM_NEWROUTE: request, ack, replace, create
		{2, 24, 0, 0, 254, 110, 0, 1, 0, 0, 0, 0},
		attribute(8, 1), {10, 244, 1, 0},
		attribute(8, 5), {172, 18, 0, 3},
	}, nil)
	flags := syscall.NLM_F_REQUEST | syscall.NLM_F_ACK | syscall.NLM_F_CREATE | syscall.NLM_F_REPLACE
	if got := encodeRoute(syscall.RTM_NEWROUTE, flags, r("10.244.1.0/24", "172.18.0.3")); !bytes.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// parsed is what the kernel would hand back for a message of ours.
func parsed(t *testing.T, message []byte) syscall.NetlinkMessage {
	t.Helper()
	messages, err := syscall.ParseNetlinkMessage(message)
	if err != nil || len(messages) != 1 {
		t.Fatalf("%v, %v", messages, err)
	}
	return messages[0]
}

func TestDecodeRouteKnowsOursFromOthers(t *testing.T) {
	for _, made := range []route{r("10.244.1.0/24", "172.18.0.3"), r("fd00:1::/64", "fc00::3")} {
		message := parsed(t, encodeRoute(syscall.RTM_NEWROUTE, 0, made))
		if got, ours := decodeRoute(message); !ours || got != made {
			t.Errorf("got %v, %v, want %v", got, ours, made)
		}
		for name, spoil := range map[string]func(*syscall.NetlinkMessage){
			"owner":    func(m *syscall.NetlinkMessage) { m.Data[5] = syscall.RTPROT_STATIC },
			"table":    func(m *syscall.NetlinkMessage) { m.Data[4] = syscall.RT_TABLE_LOCAL },
			"kind":     func(m *syscall.NetlinkMessage) { m.Header.Type = syscall.RTM_NEWLINK },
			"length":   func(m *syscall.NetlinkMessage) { m.Data = m.Data[:8] },
			"no route": func(m *syscall.NetlinkMessage) { m.Data = m.Data[:syscall.SizeofRtMsg] },
		} {
			other := parsed(t, encodeRoute(syscall.RTM_NEWROUTE, 0, made))
			spoil(&other)
			if got, ours := decodeRoute(other); ours {
				t.Errorf("%s spoilt: %v was taken for ours", name, got)
			}
		}
	}
}

// inNetworkNamespace gives the test a network of its own: eth0, 172.18.0.2/24 and fc00::2/64.
func inNetworkNamespace(t *testing.T) {
	t.Helper()
	// Never unlocked: the thread, and with it the namespace, ends with the test's goroutine.
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("this machine gives no network namespace: %v", err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	for _, line := range []string{
		"link add eth0 type veth peer name eth1",
		"addr add 172.18.0.2/24 dev eth0",
		"-6 addr add fc00::2/64 dev eth0 nodad",
		"link set eth1 up",
		"link set eth0 up",
	} {
		ip(t, strings.Fields(line)...)
	}
}

func ip(t *testing.T, args ...string) string {
	t.Helper()
	output, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, output)
	}
	return string(output)
}

func TestKernelSetsReplacesAndRemoves(t *testing.T) {
	inNetworkNamespace(t)
	ip(t, "route", "add", "10.9.0.0/16", "via", "172.18.0.7")
	table := kernel{}
	expect := func(want ...route) {
		t.Helper()
		got, err := table.routes()
		if err != nil || len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	}
	expect()
	for _, family := range []struct{ first, moved, other route }{
		{r("10.244.1.0/24", "172.18.0.3"), r("10.244.1.0/24", "172.18.0.9"), r("10.244.2.0/24", "172.18.0.4")},
		{r("fd00:1::/64", "fc00::3"), r("fd00:1::/64", "fc00::9"), r("fd00:2::/64", "fc00::4")},
	} {
		steps := []struct {
			what func(route) error
			on   route
			left []route
		}{
			{table.set, family.first, []route{family.first}},
			{table.set, family.first, []route{family.first}},
			{table.set, family.other, []route{family.first, family.other}},
			{table.set, family.moved, []route{family.moved, family.other}},
			{table.remove, family.first, []route{family.moved, family.other}},
			{table.remove, family.other, []route{family.moved}},
			{table.remove, family.moved, nil},
			{table.remove, family.moved, nil},
		}
		for _, step := range steps {
			if err := step.what(step.on); err != nil {
				t.Fatalf("%v: %v", step.on, err)
			}
			expect(step.left...)
		}
	}
	if err := table.set(r("10.244.1.0/24", "203.0.113.1")); err != syscall.ENETUNREACH {
		t.Errorf("a gateway out of reach: %v", err)
	}
	if routes := ip(t, "route"); !strings.Contains(routes, "10.9.0.0/16 via 172.18.0.7") {
		t.Errorf("somebody else's route is gone: %s", routes)
	}
}

// A route that somebody set by hand for a node's range is taken over, not doubled.
func TestKernelTakesOverARouteMadeByHand(t *testing.T) {
	inNetworkNamespace(t)
	ip(t, "route", "add", "10.244.1.0/24", "via", "172.18.0.8")
	if err := (kernel{}).set(r("10.244.1.0/24", "172.18.0.3")); err != nil {
		t.Fatal(err)
	}
	if routes := ip(t, "route", "show", "10.244.1.0/24"); strings.Count(routes, "via") != 1 || !strings.Contains(routes, "172.18.0.3") {
		t.Errorf("got %s", routes)
	}
}
