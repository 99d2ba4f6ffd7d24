package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// credentials lie in two files of a mounted Secret. They are read anew for every request:
// a rotated Secret counts from the moment the kubelet has written it.
type credentials struct {
	username, password string
}

func readCredentials(dir string) (credentials, error) {
	username, userErr := readLine(filepath.Join(dir, "username"))
	password, passErr := readLine(filepath.Join(dir, "password"))
	if err := errors.Join(userErr, passErr); err != nil {
		return credentials{}, err
	}
	if username == "" || password == "" {
		return credentials{}, errors.New("username or password is empty")
	}
	return credentials{username, password}, nil
}

func readLine(path string) (string, error) {
	content, err := os.ReadFile(path)
	return strings.TrimRight(string(content), "\r\n"), err
}

// match compares hashes, both in every case, so that the time it takes tells
// neither the length nor a right beginning nor which of the two was wrong.
func (c credentials) match(r *http.Request) bool {
	username, password, _ := r.BasicAuth()
	return sameText(c.username, username)&sameText(c.password, password) == 1
}

func sameText(a, b string) int {
	hashA, hashB := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(hashA[:], hashB[:])
}
