//! `cargo bench --bench crowd`: 10,000 agents in one process answer one ping each. Every answer is on
//! the chain exactly once. `AGENTRY_SCALE_AGENTS` changes the number.

#[expect(dead_code, reason = "each benchmark uses a part of the common stage")]
mod stage;

use std::time::Duration;

use stage::{crowd, report};

fn main() -> anyhow::Result<()> {
    if !report::is_asked_for() {
        return Ok(());
    }
    report::header("Many agents, one ping each")?;
    let agents = report::setting("AGENTRY_SCALE_AGENTS", 10_000)?;
    let block_time = Duration::from_millis(500);
    let took = crowd::answer(agents, block_time)?;
    report::table(
        &["agents", "from the pings' commit until", "time", "messages"],
        &[
            vec![
                agents.to_string(),
                "the node has accepted the last answer".to_owned(),
                report::time(took.accepted),
                report::rate(agents, took.accepted),
            ],
            vec![
                agents.to_string(),
                "the last answer is in a block (500 answers each, every 500 ms)".to_owned(),
                report::time(took.mined),
                report::rate(agents, took.mined),
            ],
        ],
    );
    report::line("Checked: every agent's answer is on the chain exactly once.");
    Ok(())
}
