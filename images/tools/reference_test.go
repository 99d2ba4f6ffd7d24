package tools_test

import (
	_ "crypto/sha512" // the library knows the algorithms that a program has
	"encoding/json"
	"os"
	"testing"

	"github.com/distribution/reference"
)

// The table that the Python tests read as well: full is what a text stands for, absent for what is no reference.
func TestReferencesAreReadAsTheTableSays(t *testing.T) {
	data, err := os.ReadFile("../../tests/unit/objects/references.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Text string
		Full *string
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 {
		t.Fatal("the table is empty")
	}
	for _, row := range rows {
		found, err := reference.ParseNormalizedNamed(row.Text)
		switch {
		case row.Full == nil && err == nil:
			t.Errorf("%q is read as %s", row.Text, found)
		case row.Full != nil && err != nil:
			t.Errorf("%q is refused: %v", row.Text, err)
		case row.Full != nil && found.String() != *row.Full:
			t.Errorf("%q is read as %s, not %s", row.Text, found, *row.Full)
		}
	}
}
