//! What a description of a table and its keys is. [`super::model`] has the descriptions.

use super::check::Keys;
use super::model::{
    A2aConfig, AGENT, ChainConfig, ClusterConfig, CommonConfig, Contact, CoordinatorConfig,
    DevnetTable, DirectoryConfig, FLEET, HttpConfig, StoreConfig, TasksConfig, TracesConfig,
    WalletsConfig, WebhookConfig,
};

/// Every table of agents.toml, in the order of the reference.
pub const TABLES: &[Table] = &[
    ChainConfig::TABLE,
    StoreConfig::TABLE,
    HttpConfig::TABLE,
    A2aConfig::TABLE,
    ClusterConfig::TABLE,
    DevnetTable::TABLE,
    WalletsConfig::TABLE,
    DirectoryConfig::TABLE,
    TasksConfig::TABLE,
    TracesConfig::TABLE,
    CoordinatorConfig::TABLE,
    CommonConfig::TABLE,
    AGENT,
    FLEET,
    Contact::TABLE,
    WebhookConfig::TABLE,
];

/// The table of that name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Any text.
    Text,
    /// A whole number from 0.
    Integer,
    /// A length of time, for example `"30s"`.
    Duration,
    /// An `http` or `https` address.
    Url,
    /// A path, relative to the file's folder if it is in the file, else to the working directory.
    Path,
    /// A list of texts, separated by commas in the environment and in flags.
    List,
    /// One of a few words; see its description.
    Word,
    /// true or false.
    Boolean,
    /// A list of tables.
    Tables,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub holds: Holds,
    /// Its default, as text; `None`: it has none, or must be set.
    pub default: Option<&'static str>,
    /// Its description in the reference, in Markdown.
    pub about: &'static str,
}

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Whether it is written `[[name]]` and may occur several times.
    pub repeated: bool,
    /// The keys that only this table has.
    pub own: &'static [Key],
    /// The keys whose default is that of another table.
    pub inherited: &'static [Key],
    /// Its description in the reference.
    pub about: &'static str,
}

impl Table {
    /// Its keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.own.iter().chain(self.inherited)
    }

    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }

    /// The names of all keys, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys().map(|key| key.name)
    }
}

/// A struct whose fields are the keys of a table; see [`describe!`].
pub(super) trait Described: Sized {
    /// Its table.
    const TABLE: Table;

    /// Reads every key. `None` if one is wrong or not set, which is then reported.
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self>;
}

/// Defines a struct from the description of a table, `[name]`, or `[[name]]` if it is repeated.
///
/// A key is its description in Markdown, as a doc comment, and `name: Type [range] = "default"`. Its
/// type says how it is read and shown: see [`Kind`](super::values::Kind). A default is written as in
/// a flag. A key without one must be set, unless its type is an `Option`.
///
/// The second form only describes keys, which are read elsewhere.
macro_rules! describe {
    (
        $(#[doc = $about:literal])+
        [$name:tt]
        $(#[$attribute:meta])*
        pub struct $Struct:ident {
            $(
                $(#[doc = $described:literal])+
                $key:ident: $type:ty $([$range:expr])? $(= $default:literal)?,
            )+
        }
    ) => {
        #[doc = concat!("`[", stringify!($name), "]`:", $($about),+)]
        ///
        $(#[$attribute])*
        pub struct $Struct {
            $($(#[doc = $described])+ pub $key: $type,)+
        }

        impl Described for $Struct {
            const TABLE: Table = Table {
                name: describe!(@name $name),
                repeated: describe!(@repeated $name),
                own: &[$(Key {
                    name: stringify!($key),
                    holds: <$type as Kind>::HOLDS,
                    default: describe!(@default $($default)?),
                    about: describe!(@text $($described)+),
                }),+],
                inherited: &[],
                about: describe!(@text $($about)+),
            };

            fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
                $(let $key = keys.read(stringify!($key), describe!(@read $type $(, $range)?));)+
                Some(Self { $($key: $key?),+ })
            }
        }
    };
    (
        $(#[doc = $about:literal])+
        [$name:tt]
        pub const $TABLE:ident {
            $($(#[doc = $described:literal])+ $key:ident: $holds:ident,)+
            ..$Defaults:ident
        }
    ) => {
        #[doc = concat!("`[", stringify!($name), "]`:", $($about),+)]
        pub const $TABLE: Table = Table {
            name: describe!(@name $name),
            repeated: describe!(@repeated $name),
            own: &[$(Key {
                name: stringify!($key),
                holds: Holds::$holds,
                default: None,
                about: describe!(@text $($described)+),
            }),+],
            inherited: $Defaults::TABLE.own,
            about: describe!(@text $($about)+),
        };
    };
    (@name [$name:ident]) => { stringify!($name) };
    (@name $name:ident) => { stringify!($name) };
    (@repeated [$name:ident]) => { true };
    (@repeated $name:ident) => { false };
    (@text $($line:literal)+) => { concat!($($line),+).trim_ascii() };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
    (@read $type:ty) => { <$type as Kind>::read };
    (@read $type:ty, $range:expr) => { |value| <$type as Ranged>::within(value, $range) };
}

pub(super) use describe;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_fit_paths() {
        for table in TABLES {
            let names: HashSet<_> = table.names().collect();
            assert_eq!(names.len(), table.keys().count(), "{}", table.name);
            // The environment and `--set` write `table.key`, so neither may contain a dot or `__`.
            for name in names {
                assert!(
                    name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                    "{name}"
                );
                assert!(!name.contains("__"), "{name}");
            }
        }
    }
}
