package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// routeOwner marks our routes in the kernel's table (rtm_protocol), so that those of others are never
// removed. Any number is free that /etc/iproute2/rt_protos does not list.
const routeOwner = 110

// kernel is the routing table of the network namespace that the program runs in.
type kernel struct{}

// routes are those in the main table that carry our mark, of both families.
func (kernel) routes() ([]route, error) {
	var found []route
	for _, family := range []int{syscall.AF_INET, syscall.AF_INET6} {
		data, err := syscall.NetlinkRIB(syscall.RTM_GETROUTE, family)
		if errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EOPNOTSUPP) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("routes cannot be listed: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(data)
		if err != nil {
			return nil, fmt.Errorf("routes cannot be read: %w", err)
		}
		for _, message := range messages {
			if r, ours := decodeRoute(message); ours {
				found = append(found, r)
			}
		}
	}
	return found, nil
}

// set makes the route, or puts it in the place of the one that leads to the same range.
func (kernel) set(r route) error {
	flags := syscall.NLM_F_REQUEST | syscall.NLM_F_ACK | syscall.NLM_F_CREATE | syscall.NLM_F_REPLACE
	return transact(encodeRoute(syscall.RTM_NEWROUTE, flags, r))
}

// remove takes a route of ours away; one that is gone already is no error.
func (kernel) remove(r route) error {
	err := transact(encodeRoute(syscall.RTM_DELROUTE, syscall.NLM_F_REQUEST|syscall.NLM_F_ACK, r))
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// encodeRoute is a netlink message: header, rtmsg, and the attributes destination and gateway.
func encodeRoute(kind, flags int, r route) []byte {
	family := byte(syscall.AF_INET6)
	if r.pods.Addr().Is4() {
		family = syscall.AF_INET
	}
	body := []byte{
		family, byte(r.pods.Bits()), 0 /* source */, 0, /* tos */
		syscall.RT_TABLE_MAIN, routeOwner, syscall.RT_SCOPE_UNIVERSE, syscall.RTN_UNICAST,
		0, 0, 0, 0, // flags
	}
	body = appendAttribute(body, syscall.RTA_DST, r.pods.Addr().AsSlice())
	body = appendAttribute(body, syscall.RTA_GATEWAY, r.gateway.AsSlice())

	order := binary.NativeEndian
	message := order.AppendUint32(nil, uint32(syscall.NLMSG_HDRLEN+len(body)))
	message = order.AppendUint16(message, uint16(kind))
	message = order.AppendUint16(message, uint16(flags))
	message = order.AppendUint32(message, 1) // sequence: each message has a socket of its own
	message = order.AppendUint32(message, 0) // port: to the kernel
	return append(message, body...)
}

// appendAttribute needs no padding: an address is 4 or 16 bytes, and attributes begin at multiples of 4.
func appendAttribute(message []byte, kind uint16, value []byte) []byte {
	message = binary.NativeEndian.AppendUint16(message, uint16(syscall.SizeofRtAttr+len(value)))
	message = binary.NativeEndian.AppendUint16(message, kind)
	return append(message, value...)
}

// decodeRoute reads a message of the kernel's; ours is false for everything that we did not make.
func decodeRoute(message syscall.NetlinkMessage) (r route, ours bool) {
	if message.Header.Type != syscall.RTM_NEWROUTE || len(message.Data) < syscall.SizeofRtMsg {
		return route{}, false
	}
	bits, table, owner := message.Data[1], message.Data[4], message.Data[5]
	if table != syscall.RT_TABLE_MAIN || owner != routeOwner {
		return route{}, false
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(&message)
	if err != nil {
		return route{}, false
	}
	var destination netip.Addr
	for _, attribute := range attributes {
		switch attribute.Attr.Type {
		case syscall.RTA_DST:
			destination, _ = netip.AddrFromSlice(attribute.Value)
		case syscall.RTA_GATEWAY:
			r.gateway, _ = netip.AddrFromSlice(attribute.Value)
		}
	}
	r.pods = netip.PrefixFrom(destination, int(bits))
	return r, r.pods.IsValid() && r.gateway.IsValid()
}

// transact sends one message to the kernel and waits for its answer.
func transact(message []byte) error {
	socket, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer func() { _ = syscall.Close(socket) }()
	// The kernel answers at once; the limit only keeps a lost answer from holding the program forever.
	limit := syscall.Timeval{Sec: 5}
	if err := syscall.SetsockoptTimeval(socket, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &limit); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if err := syscall.Sendto(socket, message, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	answer := make([]byte, 4096)
	n, _, err := syscall.Recvfrom(socket, answer, 0)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	return answerError(answer[:n])
}

// answerError is the kernel's verdict on one message: nil, or the errno it gives.
func answerError(answer []byte) error {
	messages, err := syscall.ParseNetlinkMessage(answer)
	if err != nil || len(messages) == 0 || messages[0].Header.Type != syscall.NLMSG_ERROR || len(messages[0].Data) < 4 {
		return errors.New("netlink: an answer that is none")
	}
	if code := int32(binary.NativeEndian.Uint32(messages[0].Data)); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}
