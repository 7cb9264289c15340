//! Everything in random order, under a flow of pings.

use std::time::Duration;

use agentry_testbed::dice::Dice;
use agentry_testbed::fleet::rounds::Rounds;
use agentry_testbed::fleet::setup;

#[test]
fn rounds_at_random() {
    let test = "rounds_at_random";
    let rounds = std::env::var("AGENTRY_CLUSTER_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(6);
    let mut done = Rounds::run(test, &mut Dice::new(test), &setup(), rounds);
    show(
        "SIGKILL of a host -> first answer from elsewhere",
        &mut done.after_kills,
    );
    show("promotion -> first answer", &mut done.after_promotions);
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort();
    if let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) {
        println!(
            "{what}: median {median:?}, worst of {} {worst:?}",
            times.len()
        );
    }
}
