//! PostgreSQL: real servers on loopback, each in a temporary folder of its own.
//!
//! | module | content |
//! |---|---|
//! | `install` | where PostgreSQL's programs are, and who may run them |
//! | `server` | [`Server`]: a primary or a standby |
//! | `pair` | [`Pair`]: a primary with a synchronous standby |

mod install;
mod pair;
mod server;

pub use install::{NoPostgres, check, version};
pub use pair::Pair;
pub use server::{Server, USER};
