import http.server as http, sqlite3

sqlite3.connect("app.db").executescript("""CREATE TABLE IF NOT EXISTS orders (body);
  CREATE TABLE IF NOT EXISTS applied (topic, id, PRIMARY KEY (topic, id)) WITHOUT ROWID""")

class App(http.BaseHTTPRequestHandler):
    protocol_version, http.ThreadingHTTPServer.request_queue_size = "HTTP/1.1", 128  # keeps and queues connections

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = (self.headers["Kafka-Topic"], self.headers["Idempotency-Key"])
        try:
            with sqlite3.connect("app.db", timeout=15) as db:  # one transaction: both rows or none
                if db.execute("INSERT INTO applied VALUES (?, ?) ON CONFLICT DO NOTHING", key).rowcount:
                    db.execute("INSERT INTO orders VALUES (?)", [body])  # the effect
            self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except sqlite3.Error: self.send_error(500)

http.ThreadingHTTPServer(("127.0.0.1", 8080), App).serve_forever()
