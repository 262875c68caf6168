//! OASST1: messages joined by `parent_id`, or conversation trees with their replies nested.
//!
//! An exchange is an assistant's message and the prompter's message that it answers, at any depth. Flat files may
//! be cut, doubled or circular: orphans, later duplicates and cycles are counted, never followed.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::field::{Field, Id, Malformed, Problem, Value, parse, skip_list, skip_map};
use super::rows::{Row, Rows};
use super::rule::{Exchange, PairCollector, Side};
use crate::Result;

/// The longest trees of OASST1 have a few hundred messages of some fourteen objects each.
const MOST_OBJECTS: usize = 100_000;

/// A message as a file spells it. In flat rows `replies` is absent, in trees `parent_id` is not needed.
#[derive(Default, Deserialize)]
struct RawMessage {
    #[serde(default)]
    message_id: Field<Id>,
    #[serde(default)]
    parent_id: Field<Id>,
    #[serde(default)]
    message_tree_id: Field<Id>,
    #[serde(default)]
    tree_state: Field<String>,
    #[serde(default)]
    text: Field<String>,
    #[serde(default)]
    role: Field<String>,
    #[serde(default)]
    lang: Field<String>,
    #[serde(default)]
    rank: Field<f64>,
    #[serde(default)]
    deleted: Field<bool>,
    #[serde(default)]
    review_result: Field<bool>,
    #[serde(default)]
    synthetic: Field<bool>,
    #[serde(default)]
    labels: Field<Labels>,
    #[serde(default)]
    replies: Field<Vec<RawMessage>>,
}

#[derive(Deserialize)]
struct RawTree {
    #[serde(default)]
    message_tree_id: Field<Id>,
    #[serde(default)]
    tree_state: Field<String>,
    #[serde(default)]
    prompt: Field<Box<RawMessage>>,
}

/// Two of a message's labels, out of `{"name": [...], "value": [...]}` or `{"quality": {"value": ...}, …}`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Labels {
    quality: Option<f64>,
    spam: Option<f64>,
}

/// State of a tree that went through all of the collection; the others were given up or are unfinished.
const READY: &str = "ready_for_export";
const NOT_READY: &str = "tree_not_ready";
/// What exports write for "no parent".
const NO_PARENT: [&str; 4] = ["", "none", "null", "nan"];
/// A message is spam if more than half of its reviewers say so.
const SPAM_ABOVE: f64 = 0.5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Prompter,
    Assistant,
}

struct Message {
    id: String,
    parent: Option<String>,
    tree: Option<String>,
    text: String,
    role: Role,
    language: Option<String>,
    rank: Option<f64>,
    rejected: Option<&'static str>,
    quality: Option<f64>,
}

/// A message's place in its conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Unknown,
    /// On the path that is being followed.
    Open,
    /// Index of the first message of its conversation in the file, and its distance from it.
    Below(usize, u32),
    Cycle,
}

pub fn messages(rows: &mut Rows, collector: &mut PairCollector<'_>, malformed: &mut Malformed) -> Result<()> {
    let mut messages: Vec<Message> = Vec::new();
    let mut by_id: HashMap<String, usize> = HashMap::new();
    while let Some(row) = rows.next()? {
        let message = check_objects(&row).and_then(|()| parse::<RawMessage>(&row)).and_then(RawMessage::read);
        match message.map(|(message, _)| message) {
            Err(problem) => malformed.add(row.line, row.element, problem),
            Ok(message) if by_id.contains_key(&message.id) => collector.drop("duplicate_id"),
            Ok(message) => {
                by_id.insert(message.id.clone(), messages.len());
                messages.push(message);
            }
        }
    }
    let parents: Vec<Option<usize>> =
        messages.iter().map(|message| message.parent.as_ref().and_then(|parent| by_id.get(parent)).copied()).collect();
    let positions = positions(&parents);
    for (index, message) in messages.iter().enumerate() {
        let orphan = message.parent.is_some() && parents[index].is_none();
        if orphan {
            collector.drop("orphan");
        }
        let Position::Below(root, depth) = positions[index] else {
            collector.drop("cycle");
            continue;
        };
        if message.role != Role::Assistant || orphan {
            continue;
        }
        let Some(prompter) =
            parents[index].map(|parent| &messages[parent]).filter(|parent| parent.role == Role::Prompter)
        else {
            collector.drop("no_instruction");
            continue;
        };
        let root = &messages[root];
        // What came before an orphan is unknown, but something did: it is no first turn.
        let missing = u32::from(root.parent.is_some());
        let tree = if root.parent.is_some() { root.tree.as_ref() } else { None };
        collector.add(&exchange(prompter, message, tree.unwrap_or(&root.id), depth / 2 + missing))?;
    }
    Ok(())
}

pub fn trees(rows: &mut Rows, collector: &mut PairCollector<'_>, malformed: &mut Malformed) -> Result<()> {
    while let Some(row) = rows.next()? {
        match parse_tree(&row) {
            Err(problem) => malformed.add(row.line, row.element, problem),
            Ok(tree) => {
                let mut problems = Vec::new();
                walk(tree, collector, &mut problems)?;
                for problem in problems {
                    malformed.add(row.line, row.element, problem);
                }
            }
        }
    }
    Ok(())
}

/// Messages are built before they are looked at: their number is bounded first, by the brackets alone.
fn check_objects(row: &Row<'_>) -> Result<(), Problem> {
    let objects = row.bytes.as_ref().map_or(0, |bytes| bytes.iter().filter(|&&byte| byte == b'{').count());
    if objects <= MOST_OBJECTS {
        return Ok(());
    }
    let problem = format!("it holds {objects} objects; at most {MOST_OBJECTS} are read");
    Err(Problem { field: "row".to_owned(), problem })
}

/// A tree as a row holds it.
struct Tree {
    id: Option<String>,
    is_ready: bool,
    root: RawMessage,
    /// Of the root's field.
    path: &'static str,
}

fn parse_tree(row: &Row<'_>) -> Result<Tree, Problem> {
    check_objects(row)?;
    let tree: RawTree = parse(row)?;
    let id = tree.message_tree_id.optional("message_tree_id")?.map(|id| id.0);
    let is_ready = tree.tree_state.optional("tree_state")?.is_none_or(|state| state == READY);
    match tree.prompt.optional("prompt")? {
        Some(prompt) => Ok(Tree { id, is_ready, root: *prompt, path: "prompt" }),
        None => parse(row).map(|root| Tree { id, is_ready, root, path: "" }),
    }
}

/// Adds every exchange of a tree, depth first, in the order of the file. A message that cannot be read takes its
/// replies with it; the rest of the tree is kept.
fn walk(tree: Tree, collector: &mut PairCollector<'_>, problems: &mut Vec<Problem>) -> Result<()> {
    let Tree { id, is_ready, root, path } = tree;
    let read = |raw: RawMessage, path: &str, problems: &mut Vec<Problem>| match raw.read() {
        Ok((message, replies)) => {
            let rejected = message.rejected.or(if is_ready { None } else { Some(NOT_READY) });
            Some((Message { rejected, ..message }, replies))
        }
        Err(Problem { field, problem }) => {
            let field = if path.is_empty() { field } else { format!("{path}.{field}") };
            problems.push(Problem { field, problem });
            None
        }
    };
    let Some((root, replies)) = read(root, path, problems) else { return Ok(()) };
    let tree = id.unwrap_or_else(|| root.id.clone());
    if root.role == Role::Assistant {
        collector.drop("no_instruction");
    }
    // Messages on the way from the root, each with its replies still to come; at most 64, for JSON nests no deeper.
    let join = |path: &str, place: usize| {
        if path.is_empty() { format!("replies[{place}]") } else { format!("{path}.replies[{place}]") }
    };
    let mut way = vec![(root, replies.into_iter().enumerate(), path.to_owned())];
    while let Some((parent, replies, path)) = way.last_mut() {
        let Some((place, raw)) = replies.next() else {
            way.pop();
            continue;
        };
        let path = join(path, place);
        let Some((message, replies)) = read(raw, &path, problems) else { continue };
        if message.role == Role::Assistant {
            if parent.role == Role::Prompter {
                let turn = u32::try_from(way.len() - 1).unwrap_or(u32::MAX) / 2;
                let (parent, _, _) = &way[way.len() - 1];
                collector.add(&exchange(parent, &message, &tree, turn))?;
            } else {
                collector.drop("no_instruction");
            }
        }
        way.push((message, replies.into_iter().enumerate(), path));
    }
    Ok(())
}

fn exchange<'a>(prompter: &'a Message, reply: &'a Message, tree: &'a str, turn: u32) -> Exchange<'a> {
    Exchange {
        instruction: prompter.side(),
        response: reply.side(),
        rank: reply.rank,
        tree,
        turn,
        quality_sum: None,
        rated: true,
    }
}

/// Follows every message to the top of its conversation, each edge once, without recursion.
fn positions(parents: &[Option<usize>]) -> Vec<Position> {
    let mut positions = vec![Position::Unknown; parents.len()];
    let mut way = Vec::new();
    for start in 0..parents.len() {
        let mut at = start;
        let mut place = loop {
            match positions[at] {
                Position::Unknown => {
                    positions[at] = Position::Open;
                    way.push(at);
                    match parents[at] {
                        Some(parent) => at = parent,
                        None => break None,
                    }
                }
                Position::Open => break Some(Position::Cycle),
                known => break Some(known),
            }
        };
        while let Some(message) = way.pop() {
            let here = match place {
                None => Position::Below(message, 0),
                Some(Position::Below(root, depth)) => Position::Below(root, depth + 1),
                Some(other) => other,
            };
            positions[message] = here;
            place = Some(here);
        }
    }
    positions
}

impl Message {
    fn side(&self) -> Side<'_> {
        let languages = self.language.as_slice();
        Side { text: &self.text, languages, quality: self.quality, rejected: self.rejected }
    }
}

impl RawMessage {
    fn read(self) -> Result<(Message, Vec<RawMessage>), Problem> {
        let role = self.role.required("role")?;
        let role = match role.as_str() {
            "prompter" => Role::Prompter,
            "assistant" => Role::Assistant,
            _ => {
                let problem = format!("it is {role:?}; it must be \"prompter\" or \"assistant\"");
                return Err(Problem { field: "role".to_owned(), problem });
            }
        };
        let labels = self.labels.optional("labels")?.unwrap_or_default();
        let deleted = self.deleted.optional("deleted")? == Some(true);
        let failed_review = self.review_result.optional("review_result")? == Some(false);
        let synthetic = self.synthetic.optional("synthetic")? == Some(true);
        let unfinished = self.tree_state.optional("tree_state")?.is_some_and(|state| state != READY);
        let reasons = [
            (deleted, "deleted"),
            (unfinished, NOT_READY),
            (failed_review, "failed_review"),
            (labels.spam.is_some_and(|spam| spam > SPAM_ABOVE), "spam"),
            (synthetic, "synthetic"),
        ];
        let parent = self.parent_id.optional("parent_id")?.map(|id| id.0);
        let message = Message {
            id: self.message_id.required("message_id")?.0,
            parent: parent.filter(|parent| !NO_PARENT.iter().any(|none| none.eq_ignore_ascii_case(parent))),
            tree: self.message_tree_id.optional("message_tree_id")?.map(|id| id.0),
            text: self.text.required("text")?,
            role,
            language: self.lang.optional("lang")?,
            rank: self.rank.optional("rank")?,
            rejected: reasons.iter().find_map(|&(is_met, reason)| is_met.then_some(reason)),
            quality: labels.quality,
        };
        Ok((message, self.replies.optional("replies")?.unwrap_or_default()))
    }
}

impl Value for Box<RawMessage> {
    const EXPECTED: &'static str = "a message";

    fn map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        RawMessage::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            .map(|message| Some(Box::new(message)))
    }
}

impl Value for Vec<RawMessage> {
    const EXPECTED: &'static str = "a list of messages";

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut messages = Vec::new();
        while let Some(message) = list.next_element::<Field<Box<RawMessage>>>()? {
            let Field::Is(message) = message else {
                skip_list(list)?;
                return Ok(None);
            };
            messages.push(*message);
        }
        Ok(Some(messages))
    }
}

impl Value for Labels {
    const EXPECTED: &'static str = "labels: lists `name` and `value`, or an object with `quality`";

    fn map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut names: Field<Vec<String>> = Field::Missing;
        let mut values: Field<Vec<Option<f64>>> = Field::Missing;
        let mut quality: Field<Labelled> = Field::Missing;
        let mut spam: Field<Labelled> = Field::Missing;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => names = map.next_value()?,
                "value" => values = map.next_value()?,
                "quality" => quality = map.next_value()?,
                "spam" => spam = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(match (names, values) {
            (Field::Missing, Field::Missing) => match (quality, spam) {
                (Field::Wrong(_), _) | (_, Field::Wrong(_)) => None,
                (quality, spam) => {
                    let value = |label: Field<Labelled>| label.known().map(|Labelled(value)| value);
                    Some(Self { quality: value(quality), spam: value(spam) })
                }
            },
            (Field::Is(names), Field::Is(values)) if names.len() == values.len() => {
                let value = |label: &str| {
                    let place = names.iter().position(|name| name == label)?;
                    values.get(place).copied().flatten()
                };
                Some(Self { quality: value("quality"), spam: value("spam") })
            }
            _ => None,
        })
    }
}

/// `{"value": 0.75, "count": 3}`, or the number alone.
struct Labelled(f64);

impl Value for Labelled {
    const EXPECTED: &'static str = "a number or an object with `value`";

    fn number(number: f64) -> Option<Self> {
        Some(Self(number))
    }

    fn map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "value" {
                let value = map.next_value::<Field<f64>>()?;
                skip_map(map)?;
                return Ok(match value {
                    Field::Is(value) => Some(Self(value)),
                    _ => None,
                });
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }
}

/// Null for a label without a value.
impl Value for Vec<Option<f64>> {
    const EXPECTED: &'static str = "a list of numbers";

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = list.next_element::<Field<f64>>()? {
            match number {
                Field::Is(number) => numbers.push(Some(number)),
                Field::Missing => numbers.push(None),
                Field::Wrong(_) => return skip_list(list).map(|()| None),
            }
        }
        Ok(Some(numbers))
    }
}
