package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

func TestReapCollectsEveryEndedChild(t *testing.T) {
	for range 3 {
		if _, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{}); err != nil {
			t.Fatal(err)
		}
	}
	collected := 0
	await(t, "three children collected", func() bool { collected += reap(); return collected >= 3 })
	if again := reap(); again != 0 || collected != 3 {
		t.Errorf("collected %d and then %d, want 3 and 0", collected, again)
	}
}

func TestOnlyAStopSignalEndsTheWait(t *testing.T) {
	for _, stop := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		signals := make(chan os.Signal, 3)
		signals <- syscall.SIGCHLD
		signals <- syscall.SIGCHLD
		signals <- stop
		untilStopped(signals)
		if len(signals) != 0 {
			t.Errorf("%d signals were not looked at", len(signals))
		}
	}
}

// The shell starts a child and becomes pause, which so inherits a child it knows nothing of.
func TestProgramBuriesAndStops(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "pause")
	if output, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	program := exec.Command("/bin/sh", "-c", "sleep 0.2 & exec "+binary)
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Process.Kill() }()
	pid := program.Process.Pid
	await(t, "the shell becomes pause", func() bool { return proc(t, pid, "comm") == "pause" })
	await(t, "no zombie is left", func() bool {
		return proc(t, pid, fmt.Sprintf("task/%d/children", pid)) == ""
	})
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func proc(t *testing.T, pid int, file string) string {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}
