package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// superviseAsProcess1 runs the program a second time, as a child, and gives back its exit code.
// When a client goes away in the middle of a clone, http-backend is killed and its own children
// become orphans; process 1 has to bury them, and a process that also waits for children of its
// own (as net/http/cgi does) cannot collect everybody's.
func superviseAsProcess1(log *slog.Logger) int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	child, err := startAgain()
	if err != nil {
		log.Error("stopped", "error", err.Error())
		return 1
	}
	for {
		// First of all, for a child may have ended before anybody listened for signals.
		if code, ended := reap(child.Pid); ended {
			return code
		}
		if received := <-signals; received != syscall.SIGCHLD {
			_ = child.Signal(received)
		}
	}
}

func startAgain() (*os.Process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	return os.StartProcess(program, os.Args, &os.ProcAttr{Env: os.Environ(), Files: files})
}

// reap collects every child that has ended; ended tells whether the one called main was among them.
func reap(main int) (code int, ended bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid <= 0:
			return code, ended
		case pid == main && status.Signaled():
			code, ended = 128+int(status.Signal()), true
		case pid == main:
			code, ended = status.ExitStatus(), true
		}
	}
}
