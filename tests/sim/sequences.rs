//! What producers number: which of their messages never arrive, arrive late or twice, and when a producer starts again.

use std::collections::BTreeMap;

use kafka_once::domain::record::TopicPartition;

use super::dice::Dice;
use super::plan::Plan;

/// How a record's number follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is the next one, or the first of a life.
    Next,
    /// All from this one on were left out.
    Over(u64),
    /// It had been left out.
    Late,
    /// It stands in the log already.
    Again,
}

/// What a record says of its place in its producer's sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub producer: String,
    /// Which of the lives under this name: numbers begin anew in each.
    pub life: u32,
    pub number: u64,
    pub step: Step,
}

/// The sequence of one producer in one partition.
#[derive(Clone, Debug)]
struct Line {
    name: String,
    life: u32,
    /// The first number of this life; `None` for a producer whose life had begun before the log did.
    base: Option<u64>,
    highest: u64,
    /// The highest number of the life before under the same name.
    former: Option<u64>,
    /// Left out, and still to come.
    withheld: Vec<u64>,
    /// The next one must follow the highest.
    straight: bool,
}

/// All producers of a world.
pub struct Numbers {
    dice: Dice,
    producers: u64,
    /// Whether numbers come late or again.
    mixed: bool,
    lines: BTreeMap<(TopicPartition, u64), Line>,
}

impl Numbers {
    /// The producers of this plan.
    pub fn of(plan: &Plan) -> Self {
        // Where the store forgets, a producer may be first seen by any record. One with an old number looks like
        // somebody in mid-life then, and whatever comes next like a gap: nothing could tell it from a real one.
        let mixed = !plan.faults.may_forget();
        Self { dice: Dice::new(plan.seed, "sequences"), producers: plan.producers, mixed, lines: BTreeMap::new() }
    }

    /// The number of the next record of this partition. `before`: of the message's first record there, if it is a
    /// duplicate; a producer that sends again may number anew or not.
    pub fn stamp(&mut self, at: &TopicPartition, before: Option<&Stamp>) -> Option<Stamp> {
        if self.producers == 0 {
            return None;
        }
        if let Some(before) = before.filter(|_| self.dice.percent(50))
            && let Some(again) = self.again(at, before)
        {
            return Some(again);
        }
        let place = (at.clone(), self.dice.below(self.producers));
        let Some(line) = self.lines.get_mut(&place) else {
            let line = Line::begin(&self.dice, format!("maker{}", place.1));
            return Some(self.lines.entry(place).or_insert(line).stamp(Step::Next));
        };
        Some(line.go_on(&self.dice, self.mixed))
    }

    /// The same number again. Behind a producer's first number again only the one that follows the highest shows that it
    /// has not started anew: a gap there would look like the gap of a new life. That is not planted.
    fn again(&mut self, at: &TopicPartition, before: &Stamp) -> Option<Stamp> {
        let lines = self.lines.iter_mut().filter(|((home, _), _)| home == at).map(|(_, line)| line);
        let same = |line: &&mut Line| line.name == before.producer && line.life == before.life && !line.straight;
        let line = lines.into_iter().find(same).filter(|_| self.mixed)?;
        line.straight = line.base.is_some_and(|base| before.number <= base);
        Some(Stamp { step: Step::Again, ..before.clone() })
    }
}

impl Line {
    fn begin(dice: &Dice, name: String) -> Self {
        let base = dice.pick(&[Some(0), Some(0), Some(1), Some(1), None]);
        let highest = base.unwrap_or(20 + dice.below(50));
        Self { name, life: 0, base, highest, former: None, withheld: Vec::new(), straight: false }
    }

    fn stamp(&self, step: Step) -> Stamp {
        Stamp { producer: self.name.clone(), life: self.life, number: self.highest, step }
    }

    fn go_on(&mut self, dice: &Dice, mixed: bool) -> Stamp {
        let straight = std::mem::take(&mut self.straight);
        let late = usize::try_from(dice.below(self.withheld.len() as u64)).expect("few");
        match dice.below(100) {
            _ if straight => {}
            0..=39 if !self.withheld.is_empty() => {
                let number = self.withheld.swap_remove(late);
                return Stamp { number, ..self.stamp(Step::Late) };
            }
            40..=41 => return self.start_again(dice),
            42..=51 => return self.leave_out(dice, mixed),
            _ => {}
        }
        self.highest += 1;
        self.stamp(Step::Next)
    }

    /// What was still to come never comes: under the first number again it would be a message of the new life.
    fn start_again(&mut self, dice: &Dice) -> Stamp {
        if dice.percent(50) {
            *self = Self::begin(dice, format!("{}+", self.name));
        } else {
            let base = self.base.unwrap_or_else(|| dice.below(2));
            let (name, life) = (self.name.clone(), self.life + 1);
            let former = Some(self.highest);
            *self = Self { name, life, base: Some(base), highest: base, former, withheld: Vec::new(), straight: false };
        }
        self.stamp(Step::Next)
    }

    /// Single numbers and ranges, for good or for some time. A new life that goes over just those numbers that let it
    /// meet the end of the life before would look like the life before: that is not planted either.
    fn leave_out(&mut self, dice: &Dice, mixed: bool) -> Stamp {
        let first = self.highest + 1;
        let number = first + dice.pick(&[1, 1, 1, 2, 5]);
        let meets = self.former.is_some_and(|former| self.highest < former && number == former + 1);
        let withheld = mixed && dice.percent(50);
        if meets {
            self.highest += 1;
            return self.stamp(Step::Next);
        }
        if withheld {
            self.withheld.extend(first..number);
        }
        self.highest = number;
        self.stamp(Step::Over(first))
    }
}
