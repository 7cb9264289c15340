//! One layer, as a source of the `config` crate.

use config::{Map, Source, Value, ValueKind};

use super::document::{Given, Raw};
use super::error::Origin;
use super::keys::Table;

/// One layer, for the `config` crate. The origin of a value is its index in a list of origins.
#[derive(Clone, Debug)]
pub(super) struct Layer(pub(super) Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    /// Adds a key.
    pub(super) fn put(
        &mut self,
        table: &Table,
        key: &str,
        given: Given,
        origins: &mut Vec<Origin>,
    ) {
        self.0
            .insert(format!("{}.{key}", table.name), to_value(given, origins));
    }
}

fn to_value(given: Given, origins: &mut Vec<Origin>) -> Value {
    let number = origins.len().to_string();
    origins.push(given.origin);
    let kind = match given.raw {
        Raw::Text(text) => ValueKind::String(text),
        Raw::Integer(integer) => ValueKind::I64(integer),
        Raw::Float(float) => ValueKind::Float(float),
        Raw::Boolean(boolean) => ValueKind::Boolean(boolean),
        Raw::List(items) => ValueKind::Array(
            items
                .into_iter()
                .map(|item| to_value(item, origins))
                .collect(),
        ),
        // No key accepts any of these. Each becomes NaN, which every reader rejects.
        Raw::Table(_) | Raw::TooLarge(_) | Raw::DateTime(_) => ValueKind::Float(f64::NAN),
    };
    Value::new(Some(&number), kind)
}

/// A merged value with its origin.
pub(super) fn from_value(value: Value, origins: &[Origin]) -> Given {
    let origin = value
        .origin()
        .and_then(|number| number.parse::<usize>().ok())
        .and_then(|number| origins.get(number).cloned())
        .unwrap_or(Origin::Default);
    let raw = match value.kind {
        ValueKind::String(text) => Raw::Text(text),
        ValueKind::I64(integer) => Raw::Integer(integer),
        ValueKind::Boolean(boolean) => Raw::Boolean(boolean),
        ValueKind::Float(float) => Raw::Float(float),
        ValueKind::Array(items) => Raw::List(
            items
                .into_iter()
                .map(|item| from_value(item, origins))
                .collect(),
        ),
        ValueKind::Nil
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Table(_) => Raw::Float(f64::NAN),
    };
    Given { raw, origin }
}
