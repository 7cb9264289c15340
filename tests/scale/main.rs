//! Many agents in one process: each answers its ping, and answers it once.
//!
//! `AGENTRY_SCALE_AGENTS=10000 cargo test --release --test scale` does it with 10,000.

#[expect(dead_code, reason = "the benchmarks' stage holds more than this needs")]
#[path = "../../benches/stage/mod.rs"]
mod stage;

use std::time::Duration;

#[test]
fn every_agent_answers_its_ping_once() {
    let agents = stage::report::setting("AGENTRY_SCALE_AGENTS", 1_000).unwrap();
    // What is checked is checked there: an error names what is missing, or stands twice.
    stage::crowd::answer(agents, Duration::from_millis(100)).unwrap();
}
