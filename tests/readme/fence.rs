//! The page's SQL recipe against a real database: a lower attempt never applies over a higher one, and the effect is once.

use crate::support::fence::{Attempt, Fence};
use crate::support::sqlite::Sqlite;

/// A real database with the recipe's table, reached over one connection for each attempt.
struct Bank {
    fence: Fence,
    connections: Vec<Sqlite>,
    _dir: tempfile::TempDir,
}

impl Bank {
    /// `None` (recorded as a skip) without python3.
    fn open(connections: usize) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |_| Sqlite::open(&dir.path().join("app.db"));
        let mut connections = (0..connections).map(open).collect::<Option<Vec<_>>>()?;
        let fence = Fence::from_page();
        fence.prepare(&mut connections[0]).expect("the recipe's table");
        Some(Self { fence, connections, _dir: dir })
    }

    /// Runs the step of an attempt, over its own connection.
    fn step(&mut self, number: usize, id: &str, step: Step) -> Option<u16> {
        let attempt = attempt(number, id);
        let database = &mut self.connections[number - 1];
        match step {
            Step::Arrive => self.fence.arrive(database, &attempt).map(|()| None),
            Step::Apply => self.fence.apply(database, &attempt).map(Some),
            Step::Crash => self
                .fence
                .take(database, &attempt)
                .and_then(|written| if written { Fence::roll_back(database).map(|()| None) } else { Ok(None) }),
        }
        .expect("a database without a lock")
    }

    fn effects(&mut self, id: &str) -> usize {
        Fence::effects(&mut self.connections[0], "orders", id).expect("a count")
    }
}

fn attempt(number: usize, id: &str) -> Attempt {
    Attempt { topic: "orders".to_owned(), id: id.to_owned(), number: number as u64 }
}

/// What happens to an attempt, in its order: it arrives, and then it applies its effect or dies before the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Arrive,
    Apply,
    Crash,
}

/// Every order in which attempts, numbered from 1, can take two steps each.
fn orders(attempts: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..2 * attempts {
        let longer = |order: Vec<usize>| {
            let next = (1..=attempts).filter(|number| order.iter().filter(|taken| *taken == number).count() < 2);
            next.map(|number| [order.clone(), vec![number]].concat()).collect::<Vec<_>>()
        };
        orders = orders.into_iter().flat_map(longer).collect();
    }
    orders
}

/// What the recipe promises of the message so far.
#[derive(Default)]
struct Expected {
    highest: usize,
    applied: bool,
}

impl Expected {
    fn after(&mut self, number: usize, step: Step) -> Option<u16> {
        match step {
            Step::Arrive => self.highest = self.highest.max(number),
            Step::Apply if self.applied => return Some(200),
            Step::Apply if number < self.highest => return Some(409),
            Step::Apply => {
                self.applied = true;
                return Some(200);
            }
            Step::Crash => {}
        }
        None
    }
}

/// Every order of `attempts` attempts, each with every choice of who dies; then one more attempt comes and stays.
fn in_every_order(attempts: usize) {
    let Some(mut bank) = Bank::open(attempts + 1) else { return };
    let (mut refused, mut tried) = (0, 0);
    for order in orders(attempts) {
        for dying in 0..1_usize << attempts {
            tried += 1;
            let id = format!("{attempts}-{tried}");
            let mut expected = Expected::default();
            let mut arrived = Vec::new();
            for &number in &order {
                let step = match (arrived.contains(&number), dying >> (number - 1) & 1) {
                    (false, _) => Step::Arrive,
                    (true, 0) => Step::Apply,
                    (true, _) => Step::Crash,
                };
                arrived.push(number);
                let answer = bank.step(number, &id, step);
                assert_eq!(answer, expected.after(number, step), "attempt {number} in {order:?}, dying {dying:b}");
                assert_eq!(bank.effects(&id), usize::from(expected.applied), "{order:?}, dying {dying:b}");
                refused += usize::from(answer == Some(409));
            }
            let last = attempts + 1;
            bank.step(last, &id, Step::Arrive);
            assert_eq!((bank.step(last, &id, Step::Apply), bank.effects(&id)), (Some(200), 1), "{order:?}");
        }
    }
    assert!(refused > 0 && tried > 20, "{refused} refused of {tried}");
}

#[test]
fn a_stale_attempt_is_refused_and_the_effect_happens_once_in_every_order_of_two_attempts() {
    in_every_order(2);
}

#[test]
fn a_stale_attempt_is_refused_and_the_effect_happens_once_in_every_order_of_three_attempts() {
    in_every_order(3);
}

#[test]
fn while_one_attempt_commits_no_other_can_get_in_between() {
    let Some(mut bank) = Bank::open(2) else { return };
    let (one, two) = (attempt(1, "between"), attempt(2, "between"));
    let Bank { fence, connections, .. } = &mut bank;
    let [first, second] = connections.as_mut_slice() else { panic!("two connections") };
    fence.arrive(first, &one).expect("it arrives");
    assert!(fence.take(first, &one).expect("it is the highest"));
    let locked = fence.arrive(second, &two).expect_err("the row is locked").to_string();
    assert!(locked.contains("locked"), "{locked}");
    assert_eq!(fence.commit(first).expect("committed"), 200);
    fence.arrive(second, &two).expect("the lock is gone");
    assert_eq!(fence.apply(second, &two).expect("an answer"), 200, "the effect is there");
    assert_eq!(bank.effects("between"), 1);
}
