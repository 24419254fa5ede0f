package main

import "database/sql"
import "io"
import "net/http"
import _ "modernc.org/sqlite"

var db, _ = sql.Open("sqlite", "file:app.db?_pragma=busy_timeout(15000)")
var _, _ = db.Exec("CREATE TABLE IF NOT EXISTS orders (topic, id, body, PRIMARY KEY (topic, id)) WITHOUT ROWID")

func apply(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if get := r.Header.Get; err == nil { // one statement is one transaction
		_, err = db.Exec("INSERT INTO orders VALUES (?, ?, ?) ON CONFLICT DO NOTHING", get("Kafka-Topic"), get("Idempotency-Key"), body)
	}
	w.WriteHeader(map[bool]int{true: 204, false: 500}[err == nil])
}

func main() { panic(http.ListenAndServe("127.0.0.1:8080", http.HandlerFunc(apply))) }
