//! An app that fences by `Once-Attempt` in SQL: the very text of the page, run statement by statement.

use serde_json::{Value, json};

use super::available::root;
use super::sqlite::Sqlite;

/// Where the recipe stands, between these two marks.
const PAGE: &str = "docs/guarantees.md";
const MARKS: [&str; 2] = ["<!-- fence-sql -->", "<!-- /fence-sql -->"];

/// The recipe's statements.
pub struct Fence {
    create: String,
    arrive: String,
    begin: String,
    take: String,
    effect: String,
    commit: String,
    look: String,
}

/// One request, as far as the recipe needs it.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub topic: String,
    pub id: String,
    /// `Once-Attempt`.
    pub number: u64,
}

impl Attempt {
    fn values(&self) -> Value {
        json!({ "topic": self.topic, "id": self.id, "attempt": self.number, "body": "an order" })
    }
}

impl Fence {
    /// Reads the recipe from the page.
    pub fn from_page() -> Self {
        let page = std::fs::read_to_string(root().join(PAGE)).expect("the page");
        let recipe = page.split(MARKS[0]).nth(1).and_then(|rest| rest.split(MARKS[1]).next()).expect("the recipe");
        let lines = recipe.lines().filter(|line| !line.starts_with("```"));
        let code: String = lines.map(|line| line.split("--").next().unwrap_or_default().to_owned() + "\n").collect();
        let statements: Vec<String> = code.split_inclusive(';').map(|text| text.trim().to_owned()).collect();
        let statements: Vec<String> = statements.into_iter().filter(|text| !text.is_empty()).collect();
        let [create, arrive, begin, take, effect, commit, look] =
            statements.try_into().unwrap_or_else(|found| panic!("the recipe has other statements: {found:#?}"));
        Self { create, arrive, begin, take, effect, commit, look }
    }

    /// Makes the recipe's table, and the one that its effect writes to.
    pub fn prepare(&self, database: &mut Sqlite) -> anyhow::Result<()> {
        database.run(&self.create, &json!({}))?;
        database.run("CREATE TABLE IF NOT EXISTS orders (topic, id, body)", &json!({}))?;
        Ok(())
    }

    /// Step 1: the request is here.
    pub fn arrive(&self, database: &mut Sqlite, attempt: &Attempt) -> anyhow::Result<()> {
        database.run(&self.arrive, &attempt.values()).map(drop)
    }

    /// Step 2 up to the end of its transaction: whether the effect is written and waits to be committed.
    pub fn take(&self, database: &mut Sqlite, attempt: &Attempt) -> anyhow::Result<bool> {
        database.run(&self.begin, &json!({}))?;
        let taken = database.run(&self.take, &attempt.values()).map(|done| done.changed);
        match taken {
            Ok(1) => database.run(&self.effect, &attempt.values()).map(|_| true),
            Ok(_) => Self::roll_back(database).map(|()| false),
            Err(error) => Self::roll_back(database).and(Err(error)),
        }
    }

    /// The end of step 2.
    pub fn commit(&self, database: &mut Sqlite) -> anyhow::Result<u16> {
        database.run(&self.commit, &json!({})).map(|_| 200)
    }

    /// What becomes of step 2 when the app dies in it, or finds nothing to do.
    pub fn roll_back(database: &mut Sqlite) -> anyhow::Result<()> {
        database.run("ROLLBACK", &json!({})).map(drop)
    }

    /// Step 3: why there was nothing to do, as the status to answer.
    pub fn look(&self, database: &mut Sqlite, attempt: &Attempt) -> anyhow::Result<u16> {
        let done = database.run(&self.look, &attempt.values())?;
        Ok(if done.rows == [[json!(1)]] { 200 } else { 409 })
    }

    /// Steps 2 and 3: the status to answer.
    pub fn apply(&self, database: &mut Sqlite, attempt: &Attempt) -> anyhow::Result<u16> {
        if self.take(database, attempt)? { self.commit(database) } else { self.look(database, attempt) }
    }

    /// How often the effect of a message is there.
    pub fn effects(database: &mut Sqlite, topic: &str, id: &str) -> anyhow::Result<usize> {
        let values = json!({ "topic": topic, "id": id });
        let done = database.run("SELECT body FROM orders WHERE topic = :topic AND id = :id", &values)?;
        Ok(done.rows.len())
    }
}
