//! PostgreSQL for tests: real servers on loopback, and a link to them that fails on demand.
//!
//! | module | content |
//! |---|---|
//! | `server` | [`Server`]: a primary or a standby in a temporary folder |
//! | `pair` | [`Pair`](pair::Pair): a primary with a synchronous standby |
//! | `proxy` | [`Proxy`](proxy::Proxy): a link that can be cut, held, and held in one direction |
//!
//! Other tests use it by `#[path]`. It needs `tempfile` and `tokio` alone.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "each binary of tests uses a part of it"
)]

pub mod pair;
pub mod proxy;
pub mod server;

pub use server::Server;
