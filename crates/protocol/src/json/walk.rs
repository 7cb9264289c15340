//! The one traversal of a document: a sequence of events, made with a stack on the heap.

use std::hash::{Hash, Hasher};

use super::arena::{Arena, Node, Span};

/// One step of a traversal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    BigInteger(&'a str),
    Float(f64),
    String(&'a str),
    BeginArray,
    EndArray,
    BeginObject,
    Key(&'a str),
    /// Whether the object had a key twice.
    EndObject(bool),
}

impl PartialEq for Event<'_> {
    /// Equal if their texts are: floats compare by their bits (`0.0` is not `-0.0`), and entries
    /// that were dropped from an object do not count.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::BigInteger(a), Self::BigInteger(b))
            | (Self::String(a), Self::String(b))
            | (Self::Key(a), Self::Key(b)) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

impl Hash for Event<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Boolean(value) => value.hash(state),
            Self::Integer(value) => value.hash(state),
            Self::Float(value) => value.to_bits().hash(state),
            Self::BigInteger(text) | Self::String(text) | Self::Key(text) => text.hash(state),
            Self::Null
            | Self::BeginArray
            | Self::EndArray
            | Self::BeginObject
            | Self::EndObject(_) => {}
        }
    }
}

/// A container whose children are being visited.
#[derive(Debug)]
enum Level {
    Array { rest: Span },
    Object { rest: Span, duplicates: bool },
}

/// Visits a value and everything in it.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    arena: &'a Arena,
    levels: Vec<Level>,
    next: Option<usize>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(arena: &'a Arena, node: usize) -> Self {
        Self {
            arena,
            levels: Vec::new(),
            next: Some(node),
        }
    }

    fn enter(&mut self, node: usize) -> Event<'a> {
        match self.arena.node(node) {
            Node::Null => Event::Null,
            Node::Boolean(value) => Event::Boolean(value),
            Node::Integer(value) => Event::Integer(value),
            Node::BigInteger(span) => Event::BigInteger(self.arena.str(span)),
            Node::Float(value) => Event::Float(value),
            Node::String(span) => Event::String(self.arena.str(span)),
            Node::Array(rest) => {
                self.levels.push(Level::Array { rest });
                Event::BeginArray
            }
            Node::Object {
                entries: rest,
                duplicates,
            } => {
                self.levels.push(Level::Object { rest, duplicates });
                Event::BeginObject
            }
        }
    }
}

/// Takes the first index off a run.
fn take_first(rest: &mut Span) {
    rest.start += 1;
    rest.len -= 1;
}

impl<'a> Iterator for Walk<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        if let Some(node) = self.next.take() {
            return Some(self.enter(node));
        }
        match self.levels.last_mut()? {
            Level::Array { rest } => {
                if let Some(&item) = self.arena.items(*rest).first() {
                    take_first(rest);
                    return Some(self.enter(item));
                }
                self.levels.pop();
                Some(Event::EndArray)
            }
            Level::Object { rest, duplicates } => {
                if let Some(entry) = self.arena.entries(*rest).first() {
                    take_first(rest);
                    self.next = Some(entry.value);
                    return Some(Event::Key(self.arena.str(entry.key)));
                }
                let duplicates = *duplicates;
                self.levels.pop();
                Some(Event::EndObject(duplicates))
            }
        }
    }
}
