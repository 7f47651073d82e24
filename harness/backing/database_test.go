package backing

import (
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestNewDatabase(t *testing.T) {
	t.Parallel()
	server := ForTest(t).Postgres.URL
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			url, drop, err := NewDatabase(t.Context(), server)
			if err != nil {
				t.Error(err)
				return
			}
			// Somebody is still connected when it is dropped.
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(t.Context()) }()
			var tables int
			if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables); err != nil || tables != 0 {
				t.Errorf("%d tables, %v; want it empty", tables, err)
			}
			if err := drop(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := checkPostgres(t.Context(), url); err == nil {
				t.Error("the database is still there")
			}
			if err := drop(t.Context()); err != nil {
				t.Error("second drop: ", err)
			}
		})
	}
	group.Wait()
}

func TestCloneDatabase(t *testing.T) {
	t.Parallel()
	template, dropTemplate, err := NewDatabase(t.Context(), ForTest(t).Postgres.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dropTemplate(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := execute(t.Context(), template, "CREATE TABLE here AS SELECT 'yes' AS answer"); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			url, drop, err := CloneDatabase(t.Context(), template)
			if err != nil {
				t.Error(err)
				return
			}
			if err := execute(t.Context(), url, "INSERT INTO here VALUES ('mine')"); err != nil {
				t.Error(err)
			}
			if err := drop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := query(t, template, "SELECT count(*)::text FROM here"); got != "1" {
		t.Errorf("%s rows in the template: a clone wrote to it", got)
	}
}

func TestWithDatabase(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{
		"postgres://u:p%40@h:5/old?sslmode=disable": "postgres://u:p%40@h:5/new?sslmode=disable",
		"postgresql://h":           "postgresql://h/new",
		"host=h port=5 dbname=old": "host=h port=5 dbname=old dbname=new",
	} {
		got, err := withDatabase(server, "new")
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", server, got, err, want)
		}
		config, err := pgx.ParseConfig(got)
		if err != nil || config.Database != "new" {
			t.Errorf("%s means database %q, %v", got, config.Database, err)
		}
	}
	if _, err := withDatabase("postgres://h:notaport/x", "new"); err == nil {
		t.Error("a bad URL was taken")
	}
}
