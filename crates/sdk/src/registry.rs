//! The kinds of behaviour and executor that a binary contains.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::task::Executor;
use crate::{AnyBehaviour, AnyExecutor, Behaviour, ConfigureError};

type Build = fn(Map<String, Value>, &Setup<'_>) -> Result<Arc<dyn AnyBehaviour>, BuildError>;
type BuildExecutor = fn(Map<String, Value>, &Setup<'_>) -> Result<Arc<dyn AnyExecutor>, BuildError>;

/// The kinds of behaviour and executor that agents.toml can select.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Build>,
    executors: BTreeMap<&'static str, BuildExecutor>,
}

static EMPTY: Registry = Registry {
    kinds: BTreeMap::new(),
    executors: BTreeMap::new(),
};

/// The environment in which a behaviour or an executor is configured.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    folder: &'a Path,
    registry: &'a Registry,
}

impl<'a> Setup<'a> {
    /// The setup for an agents.toml in this folder, in a binary with these kinds.
    pub const fn new(folder: &'a Path, registry: &'a Registry) -> Self {
        Self { folder, registry }
    }

    /// Resolves a path from agents.toml: a relative path is relative to the folder of that file.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    /// Makes an executor of a kind from its keys in agents.toml.
    ///
    /// # Errors
    /// As [`Registry::build`].
    pub fn executor(
        &self,
        kind: &str,
        settings: Map<String, Value>,
    ) -> Result<Arc<dyn AnyExecutor>, BuildError> {
        let build =
            self.registry
                .executors
                .get(kind)
                .ok_or_else(|| BuildError::UnknownExecutor {
                    kind: kind.to_owned(),
                    known: self.registry.executors(),
                })?;
        build(settings, self)
    }
}

impl Default for Setup<'_> {
    /// The working directory as the folder, and no executors.
    fn default() -> Self {
        Self::new(Path::new(""), &EMPTY)
    }
}

impl Registry {
    /// A registry without kinds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind of behaviour; one of the same name is replaced.
    #[must_use]
    pub fn with<B: Behaviour>(mut self) -> Self {
        self.kinds.insert(B::KIND, build::<B>);
        self
    }

    /// Adds a kind of executor; one of the same name is replaced.
    #[must_use]
    pub fn with_executor<E: Executor>(mut self) -> Self {
        self.executors.insert(E::KIND, build_executor::<E>);
        self
    }

    /// The names of all kinds of behaviour, in order.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.kinds.keys().copied().collect()
    }

    /// The names of all kinds of executor, in order.
    pub fn executors(&self) -> Vec<&'static str> {
        self.executors.keys().copied().collect()
    }

    /// Makes a behaviour of a kind from its keys in an agents.toml in `folder`.
    ///
    /// # Errors
    /// The kind or a key is unknown (the error lists the known ones), a key is missing or of the
    /// wrong type, or the behaviour refuses the settings.
    pub fn build(
        &self,
        kind: &str,
        settings: Map<String, Value>,
        folder: &Path,
    ) -> Result<Arc<dyn AnyBehaviour>, BuildError> {
        let build = self
            .kinds
            .get(kind)
            .ok_or_else(|| BuildError::UnknownKind {
                kind: kind.to_owned(),
                known: self.kinds(),
            })?;
        build(settings, &Setup::new(folder, self))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("kinds", &self.kinds())
            .field("executors", &self.executors())
            .finish()
    }
}

fn read<T: DeserializeOwned>(settings: Map<String, Value>) -> Result<T, BuildError> {
    serde_json::from_value(Value::Object(settings))
        .map_err(|error| BuildError::Settings(error.to_string()))
}

fn build<B: Behaviour>(
    settings: Map<String, Value>,
    setup: &Setup<'_>,
) -> Result<Arc<dyn AnyBehaviour>, BuildError> {
    Ok(Arc::new(B::configure(read(settings)?, setup)?))
}

fn build_executor<E: Executor>(
    settings: Map<String, Value>,
    setup: &Setup<'_>,
) -> Result<Arc<dyn AnyExecutor>, BuildError> {
    Ok(Arc::new(E::configure(read(settings)?, setup)?))
}

/// Why a behaviour or an executor could not be made from agents.toml.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No such kind in this binary.
    #[error("unknown behaviour kind {kind:?}; this binary knows {}", known.join(", "))]
    UnknownKind {
        /// The unknown kind.
        kind: String,
        /// The known kinds.
        known: Vec<&'static str>,
    },
    /// No such executor in this binary.
    #[error("unknown executor {kind:?}; this binary knows {}", known.join(", "))]
    UnknownExecutor {
        /// The unknown kind.
        kind: String,
        /// The known kinds.
        known: Vec<&'static str>,
    },
    /// A key is unknown, missing or of the wrong type; the text names it and the known ones.
    #[error("{0}")]
    Settings(String),
    /// The behaviour refused its settings.
    #[error(transparent)]
    Refused(#[from] ConfigureError),
}
