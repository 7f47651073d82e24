package database

import (
	"testing"
	"time"
)

func TestActivitySeesWhoWaitsForALock(t *testing.T) {
	db, stage := open(t, schema)
	product, err := db.NewProduct(t.Context(), "hot", 7, 100)
	if err != nil {
		t.Fatal(err)
	}
	waiter := session(t, stage.Config().ConnString(), "stage")
	execute(t, stage, `BEGIN; UPDATE products SET stock = stock - 1`)
	waited := make(chan error, 1)
	go func() {
		_, err := waiter.Exec(t.Context(), `UPDATE products SET stock = stock - 2`)
		waited <- err
	}()
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := db.Activity(t.Context(), "stage")
		if err != nil {
			t.Fatal(err)
		}
		if got == (Activity{Connections: 2, LockWaits: 1}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v: want two sessions, one of which waits", got)
		}
	}
	if left, err := db.StockLeft(t.Context(), []int64{product.ID}); err != nil || left != 7 {
		t.Errorf("%d left before the commit, %v", left, err)
	}
	execute(t, stage, `COMMIT`)
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if left, err := db.StockLeft(t.Context(), []int64{product.ID, 999}); err != nil || left != 4 {
		t.Errorf("%d left, %v", left, err)
	}
}
