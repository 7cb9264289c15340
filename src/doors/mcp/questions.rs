//! Questions of tasks, as forms.
//!
//! A task may ask for anything that a JSON Schema describes. A form of the protocol has only fields
//! that are texts, numbers, choices or yes and no: other answers are written as JSON into one field.

use agentry_protocol::untrusted::{escaped, printable};
use rmcp::model::ElicitationSchema;
use serde_json::{Value, json};

use super::asking::Question;
use crate::ops::tasks::job::{Job, JobQuestion, JobState};

/// The one field of a form that has only one.
const FIELD: &str = "answer";

/// How much of a question is shown, in characters. `get_task` has all of it.
const SHOWN: usize = 4000;

/// How the content of a form holds an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// It is the answer.
    Whole,
    /// Its field is the answer.
    Field,
    /// Its field is JSON of the answer, or else a text.
    Json,
}

/// The question that a task asks now.
pub(super) fn open(job: &Job) -> Option<&JobQuestion> {
    let asked = job.input.as_ref();
    asked.filter(|input| job.state == JobState::InputRequired && !input.answered)
}

/// What identifies a question of a task.
pub(super) fn key(number: u32) -> String {
    format!("input-{number}")
}

/// The question that a task asks, for a person.
pub(super) fn question(job: &Job, input: &JobQuestion) -> Question {
    let (form, shape) = form(input.schema.as_ref());
    let mut message = format!(
        "Task {} needs an answer to go on. The agent {} wrote (its signature is verified):\n\n{}",
        job.id,
        printable(&job.to, 100),
        quoted(&input.question),
    );
    if let (Shape::Json, Some(schema)) = (shape, &input.schema) {
        let schema = quoted(&schema.to_string());
        message.push_str("\n\nWrite the answer as JSON that fits this schema:\n\n");
        message.push_str(&schema);
    }
    Question {
        key: key(input.number),
        message,
        form,
    }
}

/// The answer to a question, from the content of its form; `None` if it is not there.
pub(super) fn answer(input: &JobQuestion, content: Value) -> Option<Value> {
    let (_, shape) = form(input.schema.as_ref());
    if shape == Shape::Whole {
        return content.is_object().then_some(content);
    }
    let field = content.get(FIELD)?.clone();
    match (shape, &field) {
        (Shape::Json, Value::String(text)) => Some(serde_json::from_str(text).unwrap_or(field)),
        _ => Some(field),
    }
}

/// A text of others, so that it cannot be taken for ours.
fn quoted(text: &str) -> String {
    let text = match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    };
    let lines: Vec<String> = escaped(&text)
        .lines()
        .map(|line| format!("> {line}"))
        .collect();
    lines.join("\n")
}

/// The form for answers that a schema describes.
fn form(schema: Option<&Value>) -> (ElicitationSchema, Shape) {
    let text = json!({"type": "string"});
    let Some(schema) = schema else {
        return (one_field(&text).unwrap_or_else(empty), Shape::Field);
    };
    let has_fields = |form: &ElicitationSchema| !form.properties.is_empty();
    let whole = serde_json::from_value::<ElicitationSchema>(schema.clone());
    if let Some(form) = whole.ok().filter(has_fields) {
        return (form, Shape::Whole);
    }
    match one_field(schema) {
        Some(form) => (form, Shape::Field),
        None => (one_field(&text).unwrap_or_else(empty), Shape::Json),
    }
}

/// A form with one field, if there is a field for such a schema.
fn one_field(schema: &Value) -> Option<ElicitationSchema> {
    let form = json!({"type": "object", "properties": {FIELD: schema}, "required": [FIELD]});
    serde_json::from_value(form).ok()
}

fn empty() -> ElicitationSchema {
    ElicitationSchema::new([].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(schema: Option<Value>) -> JobQuestion {
        JobQuestion {
            number: 2,
            question: "Which?".to_owned(),
            schema,
            until: None,
            answered: false,
        }
    }

    #[test]
    fn every_schema_has_a_form_and_its_content_becomes_the_answer() {
        let fields = json!({"type": "object", "properties": {"sure": {"type": "boolean"}}});
        let nested = json!({"type": "object", "properties": {"a": {"type": "object"}}});
        for (schema, content, expected) in [
            (None, json!({"answer": "42"}), json!("42")),
            (Some(fields), json!({"sure": true}), json!({"sure": true})),
            (
                Some(json!({"type": "integer"})),
                json!({"answer": 42}),
                json!(42),
            ),
            (
                Some(json!({"type": "string", "enum": ["a", "b"]})),
                json!({"answer": "a"}),
                json!("a"),
            ),
            (
                Some(nested),
                json!({"answer": "{\"a\":{}}"}),
                json!({"a": {}}),
            ),
            (
                Some(json!(true)),
                json!({"answer": "no JSON"}),
                json!("no JSON"),
            ),
            (Some(json!({})), json!({"answer": "[1]"}), json!([1])),
        ] {
            let input = asked(schema.clone());
            let (form, _) = form(input.schema.as_ref());
            assert!(!form.properties.is_empty(), "{schema:?}");
            assert_eq!(answer(&input, content), Some(expected), "{schema:?}");
            assert_eq!(answer(&input, json!([])), None, "{schema:?}");
        }
    }

    #[test]
    fn what_a_question_quotes_cannot_be_taken_for_ours() {
        let told = quoted("Fine?\n\u{202e}Task outbox/1 is confirmed.");
        assert!(told.lines().all(|line| line.starts_with("> ")), "{told}");
        assert!(!told.contains('\u{202e}'), "{told}");
        assert!(quoted(&"é".repeat(SHOWN + 1)).ends_with('…'));
    }
}
