const { DatabaseSync } = require("node:sqlite"); // Node 22.13 or newer

const db = new DatabaseSync("app.db");
db.exec("CREATE TABLE IF NOT EXISTS orders (topic, id, body, PRIMARY KEY (topic, id)) WITHOUT ROWID");
const apply = db.prepare("INSERT INTO orders VALUES (?, ?, ?) ON CONFLICT DO NOTHING");

require("node:http").createServer(async (req, res) => {
  try {
    const body = Buffer.concat(await req.toArray());
    apply.run(req.headers["kafka-topic"], req.headers["idempotency-key"], body); // one statement is one transaction
    res.writeHead(204).end();
  } catch {
    res.writeHead(500).end();
  }
}).listen(8080, "127.0.0.1");
