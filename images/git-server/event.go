package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Branch names, messages and authors are somebody else's text: they are encoded as JSON, cut to
// these many bytes, and whatever is not UTF-8 in them is replaced.
const (
	refLimit     = 1000
	nameLimit    = 200
	messageLimit = 4096
	headLimit    = 16 << 10 // of all that git tells about a commit
	headTime     = 5 * time.Second
	filesLimit   = 1000      // files that an event lists
	filesBytes   = 128 << 10 // of their names
)

// pushEvent is GitHub's event "push", as far as a listener here makes use of it.
type pushEvent struct {
	Ref        string      `json:"ref"`
	Before     string      `json:"before"`
	After      string      `json:"after"`
	Created    bool        `json:"created"`
	Deleted    bool        `json:"deleted"`
	Repository repository  `json:"repository"`
	HeadCommit *headCommit `json:"head_commit"`
	Commits    []changed   `json:"commits"`
	Pusher     person      `json:"pusher"`
}

type repository struct {
	Name     string `json:"name"`
	FullName string `json:"full_name"`
	CloneURL string `json:"clone_url"`
}

type headCommit struct {
	ID      string `json:"id"`
	Message string `json:"message"`
	Author  person `json:"author"`
}

// changed is an entry of GitHub's list of commits. There is one for the whole push: its files are those that differ
// between what the branch was at and what it is at, so they are right for a forced push as well.
type changed struct {
	ID       string   `json:"id"`
	Added    []string `json:"added"`
	Modified []string `json:"modified"`
	Removed  []string `json:"removed"`
	// Complete is false, and no file is listed, where there is nothing to compare with or too much to tell.
	Complete bool `json:"files_complete"`
}

type person struct {
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
}

// change is one ref of a push; an id of zeros stands for "none".
type change struct{ before, after, ref string }

// parseChanges gives the branches that have a new commit, and the number of tags and of deleted branches: nothing starts
// for these, and a push can hold thousands of them. Other refs, such as notes, are nobody's business.
func parseChanges(lines string) (branches []change, others int) {
	for line := range strings.Lines(lines) {
		before, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		after, ref, complete := strings.Cut(rest, " ")
		c := change{before, after, ref}
		switch isBranch := strings.HasPrefix(ref, "refs/heads/"); {
		case complete && isBranch && !c.deleted():
			branches = append(branches, c)
		case complete && (isBranch || strings.HasPrefix(ref, "refs/tags/")):
			others++
		}
	}
	return branches, others
}

func (c change) deleted() bool { return isNone(c.after) }

func isNone(id string) bool { return strings.Trim(id, "0") == "" }

// String is how the pusher knows it: "main 5b8ca62".
func (c change) String() string {
	return clean(strings.TrimPrefix(c.ref, "refs/heads/"), nameLimit) + " " + c.after[:min(7, len(c.after))]
}

// newDelivery is the event of one change of the repository name below root, ready to be sent.
func newDelivery(root, cloneBase string, push pushed, c change) (delivery, error) {
	body, err := json.Marshal(pushEvent{
		Ref:     clean(c.ref, refLimit),
		Before:  c.before,
		After:   c.after,
		Created: isNone(c.before),
		Repository: repository{
			Name:     push.Repository,
			FullName: push.Pusher + "/" + push.Repository,
			CloneURL: cloneBase + "/" + push.Repository + ".git",
		},
		HeadCommit: readHead(repositoryPath(root, push.Repository), c.after),
		Commits:    []changed{readFiles(repositoryPath(root, push.Repository), c)},
		Pusher:     person{Name: push.Pusher},
	})
	return delivery{
		ID:         newUUID(),
		Repository: push.Repository,
		Ref:        clean(c.ref, refLimit),
		Commit:     c.after,
		Made:       time.Now(),
		Body:       body,
	}, err
}

// readHead is the commit that id names; nil if git cannot tell.
func readHead(repository, id string) *headCommit {
	limited, cancel := context.WithTimeout(context.Background(), headTime)
	defer cancel()
	said := &head{limit: headLimit}
	command := gitCommand(limited, "--git-dir="+repository, "log", "--no-walk", "--encoding=UTF-8",
		"--format=%H%x00%an%x00%ae%x00%B", id, "--")
	command.Stdout = said
	if err := command.Run(); err != nil {
		return nil
	}
	parts := strings.SplitN(string(said.kept), "\x00", 4)
	for len(parts) < 4 {
		parts = append(parts, "")
	}
	return &headCommit{
		ID:      parts[0],
		Message: clean(strings.TrimRight(parts[3], "\n"), messageLimit),
		Author:  person{Name: clean(parts[1], nameLimit), Email: clean(parts[2], nameLimit)},
	}
}

// readFiles gives the files that a push changes.
func readFiles(repository string, c change) changed {
	none := changed{ID: c.after, Added: []string{}, Modified: []string{}, Removed: []string{}}
	if isNone(c.before) {
		return none
	}
	limited, cancel := context.WithTimeout(context.Background(), headTime)
	defer cancel()
	said := &head{limit: filesBytes}
	command := gitCommand(limited, "--git-dir="+repository, "diff-tree", "-r", "-z", "--name-status", "--no-renames",
		c.before, c.after, "--")
	command.Stdout = said
	if err := command.Run(); err != nil || len(said.kept) == said.limit {
		return none
	}
	fields := strings.Split(strings.TrimSuffix(string(said.kept), "\x00"), "\x00")
	if len(fields) > 2*filesLimit {
		return none
	}
	found := none
	found.Complete = true
	for i := 0; i+1 < len(fields); i += 2 {
		list := &found.Modified
		switch fields[i] {
		case "A":
			list = &found.Added
		case "D":
			list = &found.Removed
		}
		*list = append(*list, strings.ToValidUTF8(fields[i+1], string(utf8.RuneError)))
	}
	return found
}

// head keeps the beginning of what is written to it, and lets the rest go.
type head struct {
	kept  []byte
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), h.limit-len(h.kept))]...)
	return len(p), nil
}

// clean is text as UTF-8, of at most limit bytes and with no character cut in two.
func clean(text string, limit int) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	if len(text) <= limit {
		return text
	}
	for !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// newUUID is a random one (version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
