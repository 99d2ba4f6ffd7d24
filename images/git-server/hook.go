package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// git calls this very program as its post-receive hook, by a link of that name. The hook knows what the push
// has changed, in its order and apart from any other push; it hands that to the server by the socket
// beside the link, and prints the answer, which git shows to whoever pushes as lines of "remote:".
const (
	hookName   = "post-receive"
	socketName = "socket"
	hookLimit  = time.Minute
)

// pushed is what the hook hands over. Changes: "OLD NEW REF" in lines, as git gives them.
type pushed struct {
	Repository string   `json:"repository"`
	Pusher     string   `json:"pusher"`
	Options    []string `json:"options"`
	Changes    string   `json:"changes"`
}

func calledAsHook() bool { return filepath.Base(os.Args[0]) == hookName }

// runHook never fails: the refs have changed already, whatever becomes of the news.
func runHook() {
	if err := handOver(filepath.Join(filepath.Dir(os.Args[0]), socketName)); err != nil {
		fmt.Printf("no webhook is sent: %v\n", err)
	}
}

func handOver(socket string) error {
	directory, err := os.Getwd()
	if err != nil {
		return err
	}
	changes, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	connection, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(hookLimit))
	push := pushed{
		Repository: strings.TrimSuffix(filepath.Base(directory), ".git"),
		Pusher:     os.Getenv("REMOTE_USER"),
		Options:    pushOptions(os.Getenv),
		Changes:    string(changes),
	}
	if err := json.NewEncoder(connection).Encode(push); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, connection)
	return err
}

func pushOptions(getenv func(string) string) []string {
	number, _ := strconv.Atoi(getenv("GIT_PUSH_OPTION_COUNT"))
	var found []string
	for i := range number {
		found = append(found, getenv(fmt.Sprintf("GIT_PUSH_OPTION_%d", i)))
	}
	return found
}

// hookServer is the server's end: a private directory with the link and the socket.
type hookServer struct {
	directory string
	listener  net.Listener
}

// serveHook answers each hook by handle, which writes what the pusher is to read.
func serveHook(log *slog.Logger, handle func(pushed, io.Writer)) (*hookServer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp("", "git-server-")
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(program, filepath.Join(directory, hookName)); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", filepath.Join(directory, socketName))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer connection.Close()
				_ = connection.SetDeadline(time.Now().Add(hookLimit))
				var push pushed
				if err := json.NewDecoder(connection).Decode(&push); err != nil {
					log.Error("a hook was not understood", "error", err.Error())
					return
				}
				handle(push, connection)
			}()
		}
	}()
	return &hookServer{directory, listener}, nil
}

// config makes git call the hook, whatever hooks a repository has of its own.
func (s *hookServer) config() [][2]string {
	if s == nil {
		return nil
	}
	return [][2]string{{"core.hooksPath", s.directory}}
}

func (s *hookServer) close() {
	_ = s.listener.Close()
	_ = os.RemoveAll(s.directory)
}
