//! Many agents in one process: each answers its ping exactly once.
//!
//! `AGENTRY_SCALE_AGENTS=10000 cargo test --release --test scale` runs it with 10,000.
//!
//! And one agent that one sender floods: another sender's message is still answered.
//! `AGENTRY_SCALE_FLOOD=100000` makes the flood longer.

#[expect(dead_code, reason = "the benchmarks' stage has more than this needs")]
#[path = "../../benches/stage/mod.rs"]
mod stage;

use std::time::Duration;

#[test]
fn every_agent_answers_its_ping_once() {
    let agents = stage::report::setting("AGENTRY_SCALE_AGENTS", 1_000).unwrap();
    // `answer` does the checks: an error names what is missing or duplicated.
    stage::crowd::answer(agents, Duration::from_millis(100)).unwrap();
}

#[test]
fn a_flood_of_one_sender_does_not_stop_another() {
    let flood = stage::report::setting("AGENTRY_SCALE_FLOOD", 20_000).unwrap();
    let weathered = stage::flood::weather(flood).unwrap();
    println!(
        "{flood} messages of one sender stored in {:.1?}; another sender's answered in {:.2?}, and {} of the flood",
        weathered.stored, weathered.answered, weathered.of_flood
    );
}
