//! What only these tests use. Everything else is in `agentry_testbed`.
//!
//! | module | holds |
//! |---|---|
//! | [`runtime`] | a runtime with a configuration and wallets that the test chooses |
//! | `collector` | a collector of traces |
//! | [`proxy`] | a proxy that makes a node slow |

#[cfg(feature = "otlp")]
pub(crate) mod collector;
pub(crate) mod proxy;
pub(crate) mod runtime;
