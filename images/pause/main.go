// Command pause holds the namespaces of a pod open: it does nothing until it is told to stop.
// Where the pod shares its process namespace it is process 1, so it also buries orphans.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	untilStopped(signals)
}

// untilStopped reaps at each SIGCHLD and returns at any other signal.
func untilStopped(signals <-chan os.Signal) {
	// A child may have ended before anybody listened for signals.
	reap()
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap collects every child that has ended and says how many there were. Signals of one kind
// are merged while they wait, so one SIGCHLD may stand for several children.
func reap() int {
	for count := 0; ; {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid <= 0:
			return count
		default:
			count++
		}
	}
}
