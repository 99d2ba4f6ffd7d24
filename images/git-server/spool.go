package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// spool is a directory with one file for each delivery that has not arrived yet. It lies on the volume
// of the repositories, so that they outlive the server.
type spool struct {
	directory string
	limit     int // number of deliveries
}

// delivery is what a file of the spool holds.
type delivery struct {
	ID         string          `json:"id"`
	Repository string          `json:"repository"`
	Ref        string          `json:"ref"`
	Commit     string          `json:"commit"`
	Made       time.Time       `json:"made"`
	Body       json.RawMessage `json:"body"`
}

const unfinished = ".new-"

// openSpool makes the directory, and takes away what an interrupted start of a file has left.
func openSpool(directory string, limit int) (spool, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return spool{}, err
	}
	left, err := filepath.Glob(filepath.Join(directory, unfinished+"*"))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return spool{directory, limit}, err
}

// names are those of all deliveries, the oldest first.
func (s spool) names() []string {
	entries, _ := os.ReadDir(s.directory)
	var found []string
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".json") {
			found = append(found, entry.Name())
		}
	}
	return found
}

// put keeps a delivery and gives back its name.
func (s spool) put(d delivery) (string, error) {
	if len(s.names()) >= s.limit {
		return "", fmt.Errorf("%d deliveries wait already", s.limit)
	}
	content, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(s.directory, unfinished)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("%020d-%s.json", d.Made.UnixNano(), d.ID)
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(s.directory, name))
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return "", err
	}
	return name, nil
}

// get is the delivery of that name; an error that is os.ErrNotExist says that it has arrived meanwhile.
func (s spool) get(name string) (delivery, error) {
	var found delivery
	content, err := os.ReadFile(filepath.Join(s.directory, name))
	if err == nil {
		err = json.Unmarshal(content, &found)
	}
	return found, err
}

func (s spool) remove(name string) error {
	return os.Remove(filepath.Join(s.directory, name))
}
