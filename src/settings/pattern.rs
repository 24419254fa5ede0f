//! Topic patterns: librdkafka's `^regex` (POSIX extended), read conservatively and decided exactly.
//!
//! What this reader does not know (back references, `\d`, look-around, named classes) is refused
//! rather than guessed. Matching walks sets of positions, so that no pattern takes exponential time.

use std::collections::BTreeSet;

use super::problems::Fault;

/// Longest pattern, in characters.
const LENGTH_MAX: usize = 500;
/// Deepest nesting of groups and repeats.
const DEPTH_MAX: usize = 20;
/// Largest count in `{m,n}`.
const REPEAT_MAX: usize = 250;

/// A pattern that compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Any,
    Start,
    End,
    Literal(char),
    /// Ranges with both ends included; negated when the flag is set.
    Class(Vec<(char, char)>, bool),
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    /// Least and most (`None`: no bound) times.
    Repeat(Box<Node>, usize, Option<usize>),
}

impl Pattern {
    /// Compiles the pattern, or says what is wrong with it.
    pub(super) fn compile(text: &str) -> Result<Self, Fault> {
        if text.chars().count() > LENGTH_MAX {
            return Err(fault("is too long for a pattern"));
        }
        let mut parser = Parser { rest: text.chars().collect(), at: 0 };
        let node = parser.either(0)?;
        match parser.peek() {
            None => Ok(Self(node)),
            Some(_) => Err(fault("closes a group that is not open")),
        }
    }

    /// Whether the client would take a topic of that name: the pattern need not reach its end.
    pub(super) fn matches(&self, topic: &str) -> bool {
        let text: Vec<char> = topic.chars().collect();
        let starts = (0..=text.len()).collect();
        !self.0.ends(&text, &starts).is_empty()
    }
}

impl Node {
    /// Where a match can end that begins at one of `from`.
    fn ends(&self, text: &[char], from: &BTreeSet<usize>) -> BTreeSet<usize> {
        let step = |fits: &dyn Fn(char) -> bool| {
            let fitting = from.iter().filter(|&&at| text.get(at).is_some_and(|c| fits(*c)));
            fitting.map(|at| at + 1).collect()
        };
        match self {
            Self::Any => step(&|_| true),
            Self::Literal(own) => step(&|c| c == *own),
            Self::Class(ranges, negated) => {
                step(&|c| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated)
            }
            Self::Start => from.iter().copied().filter(|at| *at == 0).collect(),
            Self::End => from.iter().copied().filter(|at| *at == text.len()).collect(),
            Self::Sequence(nodes) => {
                let mut at = from.clone();
                for node in nodes {
                    at = node.ends(text, &at);
                }
                at
            }
            Self::Either(nodes) => nodes.iter().flat_map(|node| node.ends(text, from)).collect(),
            Self::Repeat(node, least, most) => node.repeated(text, from, *least, *most),
        }
    }

    fn repeated(&self, text: &[char], from: &BTreeSet<usize>, least: usize, most: Option<usize>) -> BTreeSet<usize> {
        let mut at = from.clone();
        for _ in 0..least {
            at = self.ends(text, &at);
        }
        let mut all = at.clone();
        // Bounded: each round must reach a new position, of which there are text.len() + 1.
        let rounds = most.map_or(text.len(), |most| most - least);
        for _ in 0..rounds {
            at = self.ends(text, &at).difference(&all).copied().collect();
            if at.is_empty() {
                break;
            }
            all.extend(&at);
        }
        all
    }
}

struct Parser {
    rest: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += 1;
        next
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += 1;
        }
        found
    }

    fn either(&mut self, depth: usize) -> Result<Node, Fault> {
        if depth > DEPTH_MAX {
            return Err(fault("nests its groups too deeply"));
        }
        let mut choices = vec![self.sequence(depth)?];
        while self.take('|') {
            choices.push(self.sequence(depth)?);
        }
        Ok(Node::Either(choices))
    }

    fn sequence(&mut self, depth: usize) -> Result<Node, Fault> {
        let mut nodes = Vec::new();
        while self.peek().is_some_and(|c| c != '|' && c != ')') {
            let mut node = self.atom(depth)?;
            let mut stacked = 0;
            let is_anchor = matches!(node, Node::Start | Node::End);
            while let Some((least, most)) = self.quantifier()? {
                if is_anchor {
                    return Err(fault("repeats an anchor"));
                }
                stacked += 1;
                if stacked > DEPTH_MAX {
                    return Err(fault("stacks too many repeats"));
                }
                node = Node::Repeat(Box::new(node), least, most);
            }
            nodes.push(node);
        }
        Ok(Node::Sequence(nodes))
    }

    fn atom(&mut self, depth: usize) -> Result<Node, Fault> {
        match self.next() {
            Some('.') => Ok(Node::Any),
            Some('^') => Ok(Node::Start),
            Some('$') => Ok(Node::End),
            Some('[') => self.class(),
            Some('(') => {
                let inner = self.either(depth + 1)?;
                if self.take(')') { Ok(inner) } else { Err(fault("leaves a group open")) }
            }
            Some('\\') => self.escape(),
            Some('*' | '+' | '?' | '{') => Err(fault("repeats nothing")),
            Some(',') => {
                Err(Fault::new("holds a comma, which no topic does", "give one pattern, such as ^(orders|payments)$"))
            }
            Some(c) => Ok(Node::Literal(c)),
            None => Err(fault("ends too early")),
        }
    }

    fn escape(&mut self) -> Result<Node, Fault> {
        match self.next() {
            Some(c) if c.is_ascii_punctuation() && c != '<' && c != '>' && c != '`' && c != '\'' => {
                Ok(Node::Literal(c))
            }
            Some(_) => Err(Fault::new(
                "escapes what is no punctuation",
                "POSIX extended expressions have no \\d or \\w: write [0-9]",
            )),
            None => Err(fault("ends with a backslash")),
        }
    }

    fn class(&mut self) -> Result<Node, Fault> {
        let negated = self.take('^');
        let mut ranges = Vec::new();
        loop {
            let Some(low) = self.next() else {
                return Err(fault("leaves a [ open"));
            };
            if low == ']' && !ranges.is_empty() {
                return Ok(Node::Class(ranges, negated));
            }
            if low == '[' && matches!(self.peek(), Some(':' | '.' | '=')) {
                let remedy = "write the characters, such as [a-z0-9]";
                return Err(Fault::new("holds a named class", remedy));
            }
            let is_range = self.peek() == Some('-') && self.rest.get(self.at + 1) != Some(&']');
            let high = if is_range {
                self.at += 1;
                self.next().ok_or_else(|| fault("leaves a [ open"))?
            } else {
                low
            };
            if high < low {
                return Err(fault("holds a range that runs backwards"));
            }
            ranges.push((low, high));
        }
    }

    fn quantifier(&mut self) -> Result<Option<(usize, Option<usize>)>, Fault> {
        let bounds = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.at += 1;
                return self.counted().map(Some);
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(bounds))
    }

    fn counted(&mut self) -> Result<(usize, Option<usize>), Fault> {
        let broken = || fault("holds a broken {m,n}");
        let least = self.number().ok_or_else(broken)?;
        let most = if self.take(',') { self.number() } else { Some(least) };
        if !self.take('}') || least > REPEAT_MAX {
            return Err(broken());
        }
        match most {
            Some(most) if most < least || most > REPEAT_MAX => Err(broken()),
            _ => Ok((least, most)),
        }
    }

    fn number(&mut self) -> Option<usize> {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits: String = self.rest.get(from..self.at)?.iter().collect();
        digits.parse().ok()
    }
}

fn fault(what: &str) -> Fault {
    Fault::new(what, "write a POSIX extended expression, such as ^orders-[a-z]+$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_takes_the_topics_that_the_client_would_take() {
        let cases = [
            ("^orders", "orders-dead", true),
            ("^orders$", "orders-dead", false),
            ("^orders$", "orders", true),
            ("^(a|b)-[0-9]+$", "b-42", true),
            ("^(a|b)-[0-9]+$", "c-42", false),
            ("^a\\.b", "a.b", true),
            ("^a\\.b", "axb", false),
            ("^[^a-c]", "d", true),
            ("^[^a-c]", "a", false),
            ("^[]a-]+$", "a-", true),
            ("^a{2,3}$", "aa", true),
            ("^a{2,3}$", "aaaa", false),
            ("^a{2,}$", "aaaa", true),
            ("^a|b", "xb", true),
            ("^(a*)*$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", false),
            ("^", "anything", true),
        ];
        for (pattern, topic, expected) in cases {
            let compiled = Pattern::compile(pattern).unwrap();
            assert_eq!(compiled.matches(topic), expected, "{pattern} on {topic}");
        }
    }

    #[test]
    fn a_pattern_that_is_broken_or_not_understood_is_refused() {
        let broken = [
            "^(a",
            "^a)",
            "^[a",
            "^*",
            "^(?:a)",
            "^a{3,2}",
            "^a{",
            "^a{x}",
            "^a\\",
            "^\\d+",
            "^(a)\\1",
            "^[[:alpha:]]",
            "^[z-a]",
            "^a,^b",
            "^a{999}",
        ];
        for pattern in broken {
            assert!(Pattern::compile(pattern).is_err(), "{pattern}");
        }
        assert!(Pattern::compile(&"(".repeat(200)).is_err());
        assert!(Pattern::compile(&"a".repeat(501)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_compiles_or_is_refused_and_a_literal_matches_itself(text in "\\PC{0,40}", topic in "[a-z0-9_-]{1,30}") {
            if let Ok(pattern) = Pattern::compile(&text) {
                let again = Pattern::compile(&text).unwrap();
                prop_assert_eq!(pattern.matches(&topic), again.matches(&topic));
            }
            let literal = Pattern::compile(&format!("^{topic}$")).unwrap();
            prop_assert!(literal.matches(&topic));
        }
    }
}
