//! The nodes of a document, and the builder that puts them in canonical order.

use super::number::{Number, Repr};

/// A run of the arena's text, of its items, or of its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Span {
    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.start..self.start + self.len
    }

    fn shifted(self, by: usize) -> Self {
        Self {
            start: self.start + by,
            ..self
        }
    }
}

/// One value. A value longer than a machine word is a span of one of the arena's tables.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    Null,
    Boolean(bool),
    Integer(i64),
    /// Beyond 64 bits: the canonical digits, in the text.
    BigInteger(Span),
    Float(f64),
    String(Span),
    Array(Span),
    Object {
        entries: Span,
        duplicates: bool,
    },
}

/// A key and the node of its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) key: Span,
    pub(super) value: usize,
}

/// A document. Containers name their children by index, so a child can be anywhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Arena {
    pub(super) nodes: Vec<Node>,
    pub(super) items: Vec<usize>,
    pub(super) entries: Vec<Entry>,
    pub(super) text: String,
    pub(super) root: usize,
}

impl Arena {
    pub(super) fn of_scalar(node: Node) -> Self {
        Self {
            nodes: vec![node],
            ..Self::default()
        }
    }

    pub(super) fn of_string(text: String) -> Self {
        let node = Node::String(Span {
            start: 0,
            len: text.len(),
        });
        Self {
            nodes: vec![node],
            text,
            ..Self::default()
        }
    }

    /// The node at an index; every index in an arena is one that the builder gave out.
    pub(super) fn node(&self, index: usize) -> Node {
        self.nodes.get(index).copied().unwrap_or(Node::Null)
    }

    pub(super) fn str(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    pub(super) fn items(&self, span: Span) -> &[usize] {
        self.items.get(span.range()).unwrap_or_default()
    }

    pub(super) fn entries(&self, span: Span) -> &[Entry] {
        self.entries.get(span.range()).unwrap_or_default()
    }

    /// Records that the outermost object, or one within it, had a key twice.
    pub(super) fn mark_duplicates(&mut self) {
        for node in &mut self.nodes {
            if let Node::Object { duplicates, .. } = node {
                *duplicates = true;
                return;
            }
        }
    }

    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Takes over all of another document; without copying it if this one is still empty.
    fn absorb(&mut self, other: Self) -> usize {
        if self.nodes.is_empty() && self.text.is_empty() {
            *self = other;
            return self.root;
        }
        let (nodes, items) = (self.nodes.len(), self.items.len());
        let (entries, text) = (self.entries.len(), self.text.len());
        self.text.push_str(&other.text);
        self.items
            .extend(other.items.iter().map(|item| item + nodes));
        self.entries.extend(other.entries.iter().map(|entry| Entry {
            key: entry.key.shifted(text),
            value: entry.value + nodes,
        }));
        self.nodes
            .extend(other.nodes.iter().map(|node| match *node {
                Node::BigInteger(span) => Node::BigInteger(span.shifted(text)),
                Node::String(span) => Node::String(span.shifted(text)),
                Node::Array(span) => Node::Array(span.shifted(items)),
                Node::Object {
                    entries: span,
                    duplicates,
                } => Node::Object {
                    entries: span.shifted(entries),
                    duplicates,
                },
                scalar => scalar,
            }));
        other.root + nodes
    }
}

/// The kind of an open container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    Array,
    Object,
}

/// A container that is not closed yet.
#[derive(Debug)]
struct Frame {
    open: Open,
    /// Where its children begin on the stack of waiting ones.
    first: usize,
    /// The key under which the container itself is.
    key: Span,
}

/// Builds a document from the inside out. Children wait on one stack until their container is
/// closed; then they move, sorted, to the arena.
#[derive(Debug, Default)]
pub(super) struct Builder {
    arena: Arena,
    frames: Vec<Frame>,
    waiting: Vec<Entry>,
    key: Span,
}

impl Builder {
    /// A builder with room for as many bytes of text.
    pub(super) fn with_room(bytes: usize) -> Self {
        let mut builder = Self::default();
        builder.arena.text.reserve(bytes);
        builder
    }

    /// The innermost open container.
    pub(super) fn open(&self) -> Option<Open> {
        self.frames.last().map(|frame| frame.open)
    }

    pub(super) fn depth(&self) -> usize {
        self.frames.len()
    }

    /// The buffer to which text is appended piece by piece; [`Builder::string_since`] or
    /// [`Builder::key_since`] turns the appended text into a value or a key.
    pub(super) fn text(&mut self) -> &mut String {
        &mut self.arena.text
    }

    pub(super) fn string_since(&mut self, start: usize) {
        let span = self.since(start);
        self.value(Node::String(span));
    }

    pub(super) fn key_since(&mut self, start: usize) {
        self.key = self.since(start);
    }

    fn since(&self, start: usize) -> Span {
        Span {
            start,
            len: self.arena.text.len() - start,
        }
    }

    pub(super) fn string(&mut self, text: &str) {
        let start = self.arena.text.len();
        self.arena.text.push_str(text);
        self.string_since(start);
    }

    pub(super) fn key(&mut self, text: &str) {
        let start = self.arena.text.len();
        self.arena.text.push_str(text);
        self.key_since(start);
    }

    /// An integer in canonical digits: no leading zeros, no `-0`.
    pub(super) fn integer_text(&mut self, digits: &str) {
        // Twenty characters hold every i64; the check avoids parsing a longer one.
        match (digits.len() <= 20).then(|| digits.parse()) {
            Some(Ok(value)) => self.value(Node::Integer(value)),
            _ => {
                let start = self.arena.text.len();
                self.arena.text.push_str(digits);
                let span = self.since(start);
                self.value(Node::BigInteger(span));
            }
        }
    }

    pub(super) fn number(&mut self, number: &Number) {
        match number.repr() {
            Repr::Integer(value) => self.integer_text(&value.to_string()),
            Repr::Big(digits) => self.integer_text(digits),
            Repr::Float(value) => self.value(Node::Float(*value)),
        }
    }

    /// Adds a value that has no children.
    pub(super) fn value(&mut self, node: Node) {
        let index = self.arena.push(node);
        self.place(index);
    }

    /// Adds a whole document as a value, under a key where an object is open.
    pub(super) fn graft(&mut self, other: Arena, key: Option<&str>) {
        let index = self.arena.absorb(other);
        if let Some(key) = key {
            self.key(key);
        }
        self.place(index);
    }

    pub(super) fn begin_array(&mut self) {
        self.begin(Open::Array);
    }

    pub(super) fn begin_object(&mut self) {
        self.begin(Open::Object);
    }

    fn begin(&mut self, open: Open) {
        let key = std::mem::take(&mut self.key);
        self.frames.push(Frame {
            open,
            first: self.waiting.len(),
            key,
        });
    }

    pub(super) fn end_array(&mut self) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let start = self.arena.items.len();
        self.arena
            .items
            .extend(self.waiting.drain(frame.first..).map(|entry| entry.value));
        let span = Span {
            start,
            len: self.arena.items.len() - start,
        };
        self.close(Node::Array(span), frame.key);
    }

    /// Sorts the entries by key and keeps the last of each. UTF-8 sorts as code points do.
    ///
    /// `known_duplicates`: the object is a copy of one that had a key twice.
    pub(super) fn end_object(&mut self, known_duplicates: bool) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let arena = &mut self.arena;
        let all = self.waiting.get_mut(frame.first..).unwrap_or_default();
        let text = &arena.text;
        let key = |entry: &Entry| text.get(entry.key.range()).unwrap_or_default();
        // The sort is stable, so that of equal keys the last one read stays last.
        all.sort_by(|a, b| key(a).cmp(key(b)));
        let start = arena.entries.len();
        for (index, entry) in all.iter().enumerate() {
            if all
                .get(index + 1)
                .is_none_or(|next| key(next) != key(entry))
            {
                arena.entries.push(*entry);
            }
        }
        let span = Span {
            start,
            len: arena.entries.len() - start,
        };
        let duplicates = known_duplicates || span.len < all.len();
        self.waiting.truncate(frame.first);
        self.close(
            Node::Object {
                entries: span,
                duplicates,
            },
            frame.key,
        );
    }

    fn close(&mut self, node: Node, key: Span) {
        self.key = key;
        self.value(node);
    }

    fn place(&mut self, value: usize) {
        let key = std::mem::take(&mut self.key);
        if self.frames.is_empty() {
            self.arena.root = value;
        } else {
            self.waiting.push(Entry { key, value });
        }
    }

    pub(super) fn finish(self) -> Arena {
        self.arena
    }
}
