package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The whole program as process 1 of a PID namespace: it serves, buries orphans, and ends on SIGTERM with 0.
func TestProgramAsProcess1(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a PID namespace needs root")
	}
	told, url := listen(t, accept)
	f := telling(t, url)
	dir := f.seeded()
	binary := filepath.Join(t.TempDir(), "git-server")
	if output, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.base.Host = listener.Addr().String()
	listener.Close()

	// The shell's child outlives the shell's own program, so git-server inherits it as an orphan.
	program := exec.Command("/bin/sh", "-c", "sleep 0.2 & exec "+binary)
	program.Env = append(os.Environ(), "PORT="+f.base.Port(), "GIT_PROJECT_ROOT="+f.cfg.root,
		"CREDENTIALS_DIR="+f.cfg.credentialsDir, "REPOSITORIES=app,second",
		"WEBHOOK_URL="+url, "WEBHOOK_SECRET_FILE="+f.cfg.webhook.secretFile, "CLONE_URL=http://git.cluster")
	program.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if err := program.Start(); err != nil {
		t.Skipf("no PID namespace on this machine: %v", err)
	}
	defer func() { _ = program.Process.Kill() }()

	await(t, "the program answers", func() bool {
		connection, err := net.Dial("tcp", f.base.Host)
		if err == nil {
			connection.Close()
		}
		return err == nil
	})
	must(t, t.TempDir(), "clone", "-q", f.url("second"))
	must(t, dir, "push", "-q", f.url("second"), "main")
	if told := told.await(2)[1].event; told.Repository.Name != "second" {
		t.Errorf("told of %+v", told)
	}
	await(t, "one child is left, the server itself", func() bool {
		return len(children(t, program.Process.Pid)) == 1
	})
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// children are those of every thread, for a Go program forks from whichever it happens to run on.
func children(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: the program is gone", err)
	}
	var found []string
	for _, file := range files {
		// A thread may end between the two looks.
		content, _ := os.ReadFile(file)
		found = append(found, strings.Fields(string(content))...)
	}
	return found
}
