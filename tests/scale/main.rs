//! Many agents in one process: each answers its ping exactly once.
//!
//! `AGENTRY_SCALE_AGENTS=10000 cargo test --release --test scale` runs it with 10,000.
//!
//! And one agent that one sender floods: another sender's message is still answered.
//! `AGENTRY_SCALE_FLOOD=100000` makes the flood longer.

mod chain;
mod crowd;
mod flood;

#[test]
fn every_agent_answers_its_ping_once() {
    let agents = setting("AGENTRY_SCALE_AGENTS", 1_000);
    // `answer` does the checks: an error names what is missing or duplicated.
    crowd::answer(agents).unwrap();
}

#[test]
fn a_flood_of_one_sender_does_not_stop_another() {
    let flood = setting("AGENTRY_SCALE_FLOOD", 20_000);
    let weathered = flood::weather(flood).unwrap();
    println!(
        "{flood} messages of one sender stored in {:.1?}; another sender's answered in {:.2?}, and {} of the flood",
        weathered.stored, weathered.answered, weathered.of_flood
    );
}

/// A number from the environment, for larger tests.
fn setting(name: &str, default: usize) -> usize {
    let text = std::env::var(name).unwrap_or_default().replace('_', "");
    match text.as_str() {
        "" => default,
        text => text.parse().expect("a number"),
    }
}
