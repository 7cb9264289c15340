//! The keys of agents.toml, the one list that validation, layering and the reference use.

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
    /// Its default, as written in the file; `None`: it has none, or must be set.
    pub default: Option<&'static str>,
    /// Its description in the reference.
    pub about: &'static str,
}

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Whether it is written `[[name]]` and may occur several times.
    pub repeated: bool,
    /// Its keys.
    pub keys: &'static [Key],
    /// Its description in the reference.
    pub about: &'static str,
}

impl Table {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of all keys, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().map(|key| key.name)
    }
}

/// Every table of agents.toml.
pub const TABLES: &[Table] = &[
    CHAIN, STORE, HTTP, DEVNET, WALLETS, DIRECTORY, TASKS, DEFAULTS, AGENT, FLEET, CONTACT,
];

/// The table of that name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

const fn key(
    name: &'static str,
    holds: Holds,
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    Key {
        name,
        holds,
        default,
        about,
    }
}

/// `[chain]`.
pub const CHAIN: Table = Table {
    name: "chain",
    repeated: false,
    about: "the chain that is watched and posted to",
    keys: &[
        key(
            "id",
            Holds::Text,
            None,
            "the chain's id, 1 to 64 of [A-Za-z0-9._-]; must be set",
        ),
        key(
            "rpc",
            Holds::Url,
            Some("http://127.0.0.1:8006"),
            "the node from which blocks are read when no db is given",
        ),
        key(
            "db",
            Holds::Path,
            None,
            "the node's chain.db, when the node runs on this machine",
        ),
        key(
            "submit",
            Holds::Url,
            None,
            "the producing node, where transactions are posted and balances, nonces and the \
             mempool are read; default: rpc",
        ),
        key(
            "confirmations",
            Holds::Integer,
            Some("0"),
            "a message is acted on this many blocks below the head; 0 to 10,000",
        ),
        key(
            "final_depth",
            Holds::Integer,
            Some("10"),
            "blocks after which a mined reply is final; 1 to 10,000",
        ),
        key(
            "nonce",
            Holds::Word,
            Some("timestamp"),
            "\"timestamp\" or \"sequential\"",
        ),
        key(
            "start",
            Holds::Word,
            Some("head"),
            "where a new store or agent begins: \"head\", or a height",
        ),
    ],
};

/// `[store]`.
pub const STORE: Table = Table {
    name: "store",
    repeated: false,
    about: "the runtime's own database",
    keys: &[
        key("path", Holds::Path, Some("agentry.db"), "the database file"),
        key(
            "retention",
            Holds::Duration,
            Some("30d"),
            "completed messages are deleted after this; 1h to 10 years",
        ),
    ],
};

/// `[http]`.
pub const HTTP: Table = Table {
    name: "http",
    repeated: false,
    about: "health, readiness and metrics",
    keys: &[key(
        "listen",
        Holds::Text,
        Some("127.0.0.1:8070"),
        "where they are served: a loopback address and a port",
    )],
};

/// `[devnet]`.
pub const DEVNET: Table = Table {
    name: "devnet",
    repeated: false,
    about: "an embedded node; without this table a real one is used",
    keys: &[
        key(
            "block_time",
            Holds::Duration,
            Some("500ms"),
            "how often a block is made; 50ms to 1h",
        ),
        key(
            "dir",
            Holds::Path,
            Some("devnet"),
            "the folder of its databases",
        ),
        key(
            "port",
            Holds::Integer,
            None,
            "its port on 127.0.0.1; default: that of chain.rpc",
        ),
        key(
            "faults",
            Holds::List,
            Some(""),
            "faults of a real node to reproduce",
        ),
    ],
};

/// `[wallets]`.
pub const WALLETS: Table = Table {
    name: "wallets",
    repeated: false,
    about: "where the agents' keys are",
    keys: &[
        key(
            "keystore_dir",
            Holds::Path,
            None,
            "a folder of keystore files, <wallet>.json",
        ),
        key(
            "vault",
            Holds::Path,
            None,
            "a file of many wallets, made by `agentry wallet pack`",
        ),
        key(
            "password_file",
            Holds::Path,
            None,
            "a file that holds the password; without it, AGENTRY_PASSWORD or a prompt",
        ),
    ],
};

const FEE: Key = key(
    "fee",
    Holds::Integer,
    Some("10"),
    "the fee of each transaction that it sends, in AIT",
);
const TIME_LIMIT: Key = key(
    "time_limit",
    Holds::Duration,
    Some("30s"),
    "how long one run of a behaviour may take; 1ms to 1 day",
);
const ATTEMPTS: Key = key(
    "attempts",
    Holds::Integer,
    Some("5"),
    "runs of a behaviour after which a message is a dead letter; 1 to 1,000",
);

const PER_SENDER_RATE: Key = key(
    "per_sender_rate",
    Holds::Word,
    Some("60/min"),
    "how many messages of one sender are handled per length of time; the rest wait. A count, \
     `/`, and s, min, h or day; or \"unlimited\"",
);
const MAX_WAIT: Key = key(
    "max_wait",
    Holds::Duration,
    Some("1h"),
    "a message that has waited longer than this for its sender's rate is a dead letter; 1s to 1 \
     year",
);
const DAILY_BUDGET: Key = key(
    "daily_budget",
    Holds::Integer,
    Some("100000"),
    "what it may spend in fees and amounts in a UTC day, in AIT; past it, what it sends waits \
     for the next day. Each sender may cause a part of it: a tenth, or a half if it is known. \
     0 is nothing",
);

/// `[directory]`.
pub const DIRECTORY: Table = Table {
    name: "directory",
    repeated: false,
    about: "the agents that announce themselves on the chain",
    keys: &[key(
        "from",
        Holds::Integer,
        None,
        "the height from which cards are read, even where agents begin later; default: where the store begins",
    )],
};

/// `[tasks]`.
pub const TASKS: Table = Table {
    name: "tasks",
    repeated: false,
    about: "the work that agents do for others",
    keys: &[key(
        "concurrency",
        Holds::Integer,
        Some("4"),
        "tasks that run at the same time, of all agents together; 1 to 1,024",
    )],
};

/// `[defaults]`.
pub const DEFAULTS: Table = Table {
    name: "defaults",
    repeated: false,
    about: "keys of every agent and fleet that does not set them",
    keys: &[
        FEE,
        TIME_LIMIT,
        ATTEMPTS,
        PER_SENDER_RATE,
        MAX_WAIT,
        DAILY_BUDGET,
    ],
};

/// `[[agent]]`.
pub const AGENT: Table = Table {
    name: "agent",
    repeated: true,
    about: "a hosted wallet",
    keys: &[
        key("name", Holds::Text, None, "its name, unique; must be set"),
        key(
            "wallet",
            Holds::Text,
            None,
            "its wallet in [wallets]; default: the name",
        ),
        key(
            "behaviours",
            Holds::Tables,
            None,
            "what it does: tables with a `kind`",
        ),
        FEE,
        TIME_LIMIT,
        ATTEMPTS,
        PER_SENDER_RATE,
        MAX_WAIT,
        DAILY_BUDGET,
    ],
};

/// `[[fleet]]`.
pub const FLEET: Table = Table {
    name: "fleet",
    repeated: true,
    about: "every wallet of a folder or of a vault, all with the same behaviours",
    keys: &[
        key(
            "name",
            Holds::Text,
            None,
            "its name, unique; its agents are named name/wallet; must be set",
        ),
        key(
            "keystore_dir",
            Holds::Path,
            None,
            "a folder of keystore files",
        ),
        key(
            "vault",
            Holds::Path,
            None,
            "a vault; one of the two must be set",
        ),
        key(
            "password_file",
            Holds::Path,
            None,
            "a file that holds its password; default: that of [wallets]",
        ),
        key(
            "behaviours",
            Holds::Tables,
            None,
            "what they do: tables with a `kind`",
        ),
        FEE,
        TIME_LIMIT,
        ATTEMPTS,
        PER_SENDER_RATE,
        MAX_WAIT,
        DAILY_BUDGET,
    ],
};

/// `[[contact]]`.
pub const CONTACT: Table = Table {
    name: "contact",
    repeated: true,
    about: "an agent elsewhere whose address and keys the operator vouches for",
    keys: &[
        key(
            "name",
            Holds::Text,
            None,
            "its name, unique among contacts and agents; must be set",
        ),
        key("address", Holds::Text, None, "its address; must be set"),
        key(
            "public_key",
            Holds::Text,
            None,
            "the key that verifies its signatures, 64 hexadecimal digits; it need not be \
             the one that the address is made from",
        ),
        key(
            "enc_key",
            Holds::Text,
            None,
            "the key to which messages to it are sealed, 64 hexadecimal digits",
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_fit_paths() {
        for table in TABLES {
            let names: HashSet<_> = table.names().collect();
            assert_eq!(names.len(), table.keys.len(), "{}", table.name);
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

    #[test]
    fn every_default_of_agents_can_be_given_in_defaults() {
        for key in DEFAULTS.keys {
            assert!(AGENT.key(key.name).is_some() && FLEET.key(key.name).is_some());
        }
    }
}
