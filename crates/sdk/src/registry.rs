//! The list of kinds that a binary knows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{AnyBehaviour, Behaviour, ConfigureError};

type Build = fn(Map<String, Value>) -> Result<Arc<dyn AnyBehaviour>, BuildError>;

/// The kinds of behaviour that agents.toml may ask for.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Build>,
}

impl Registry {
    /// A registry without kinds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind; one of the same name is replaced.
    #[must_use]
    pub fn with<B: Behaviour>(mut self) -> Self {
        self.kinds.insert(B::KIND, build::<B>);
        self
    }

    /// The names of all kinds, in order.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.kinds.keys().copied().collect()
    }

    /// Makes a behaviour of a kind from its keys in agents.toml.
    ///
    /// # Errors
    /// An unknown kind (with the known ones), keys that do not fit (with the known ones), or
    /// settings that the behaviour itself refuses.
    pub fn build(
        &self,
        kind: &str,
        settings: Map<String, Value>,
    ) -> Result<Arc<dyn AnyBehaviour>, BuildError> {
        let build = self
            .kinds
            .get(kind)
            .ok_or_else(|| BuildError::UnknownKind {
                kind: kind.to_owned(),
                known: self.kinds(),
            })?;
        build(settings)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.kinds()).finish()
    }
}

fn build<B: Behaviour>(settings: Map<String, Value>) -> Result<Arc<dyn AnyBehaviour>, BuildError> {
    let settings = serde_json::from_value(Value::Object(settings))
        .map_err(|error| BuildError::Settings(error.to_string()))?;
    Ok(Arc::new(B::configure(settings)?))
}

/// Why a behaviour could not be made from agents.toml.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No such kind in this binary.
    #[error("unknown behaviour kind {kind:?}; this binary knows {}", known.join(", "))]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// A key is unknown, missing or of the wrong type; the text names it and the known ones.
    #[error("{0}")]
    Settings(String),
    /// The behaviour refused its settings.
    #[error(transparent)]
    Refused(#[from] ConfigureError),
}
