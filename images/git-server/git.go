package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// gitConfig holds for every git process here. It travels in the environment because the
// image's file system is read-only and the repositories' own configuration is their owner's.
var gitConfig = [][2]string{
	// The volume may belong to another user id than ours; who may use it is the volume's affair.
	{"safe.directory", "*"},
	{"http.receivepack", "true"},
	{"receive.denyNonFastForwards", "false"},
	{"receive.maxInputSize", "1g"},
	// git push -o no-webhook, see webhook.go.
	{"receive.advertisePushOptions", "true"},
	// A pipeline fetches a commit by its hash, also when the branch has moved away meanwhile.
	{"uploadpack.allowAnySHA1InWant", "true"},
	// The manager compares two commits by their folders, without the files.
	{"uploadpack.allowFilter", "true"},
	// Housekeeping within the push that made it necessary: a detached one would outlive its request.
	{"gc.auto", "2000"},
	{"gc.autoDetach", "false"},
	{"maintenance.autoDetach", "false"},
	// Memory of a push and of a clone is bounded by these three, not by the size of the repository, nor by that of
	// its largest file: one above the threshold is streamed, where git would hold it whole, and for a clone twice.
	{"pack.threads", "1"},
	{"pack.windowMemory", "64m"},
	{"core.bigFileThreshold", "16m"},
}

// gitEnvironment is the whole environment of a git process, PATH aside. more: further configuration.
func gitEnvironment(more ...[2]string) []string {
	config := slices.Concat(gitConfig, more)
	env := []string{
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(config)),
		"GIT_TERMINAL_PROMPT=0",
		"HOME=" + os.TempDir(),
		"LC_ALL=C.UTF-8",
	}
	for i, entry := range config {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, entry[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, entry[1]))
	}
	return env
}

// git runs one git command and gives back its output; an error ends with what git said.
func git(ctx context.Context, args ...string) (string, error) {
	output, err := gitCommand(ctx, args...).CombinedOutput()
	text := strings.TrimSpace(string(output))
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, text)
	}
	return text, nil
}

func gitCommand(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "git", args...)
	command.Env = append(gitEnvironment(), "PATH="+os.Getenv("PATH"))
	return command
}

// backendPath is where this git keeps its http-backend.
func backendPath(ctx context.Context) (string, error) {
	dir, err := git(ctx, "--exec-path")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "git-http-backend")
	_, err = os.Stat(path)
	return path, err
}

func repositoryPath(root, name string) string {
	return filepath.Join(root, name+".git")
}

func repositoryExists(root, name string) bool {
	_, err := os.Stat(filepath.Join(repositoryPath(root, name), "HEAD"))
	return err == nil
}

// createRepository makes an empty bare repository whose HEAD is main, and leaves one that is there alone; made tells
// which. It is made aside and then renamed, so that an attempt that was interrupted leaves no half repository. There is
// one place aside for each name: no two calls at one time.
func createRepository(ctx context.Context, root, name string) (made bool, err error) {
	if repositoryExists(root, name) {
		return false, nil
	}
	aside := filepath.Join(root, "."+name+".new")
	if err := os.RemoveAll(aside); err != nil {
		return false, err
	}
	// No template: sample hooks and a description are of no use to a server.
	if _, err := git(ctx, "init", "--quiet", "--bare", "--template=", "--initial-branch=main", aside); err != nil {
		return false, err
	}
	if err := os.Rename(aside, repositoryPath(root, name)); err != nil {
		return false, err
	}
	return true, nil
}
