//! The reminder on a simulated chain, and its contract.

use std::time::Duration;

use agentry_sdk::testing::{
    Agent, Contract, MessageBuilder, Simulation, assert_behaviour_contract, block_on,
};
use own_behaviour::Reminder;
use serde_json::json;

#[test]
fn it_reminds_after_the_given_time() {
    block_on(async {
        let mut chain = Simulation::new(1);
        let agent = chain.host(Agent::named("memory").with::<Reminder>(json!({ "most": 1 })));
        let alice = chain.peer("alice");

        let tea = chain.deliver(alice.text("remind 600 the tea")).await;
        chain.replay(tea); // The same message appears on the chain again.
        chain.deliver(alice.text("remind 5 more than fits")).await;
        chain.deliver(alice.text("remind me")).await;
        chain.restart(); // The process ends and starts again.
        chain.advance(Duration::from_secs(600)).await;

        let sent = chain.sent_to(&alice);
        let texts: Vec<_> = sent.iter().filter_map(|sent| sent.text()).collect();
        assert_eq!(
            texts,
            [
                "in 600 s: the tea",
                "I cannot keep more reminders",
                "say: remind SECONDS TEXT",
                "reminder: the tea",
            ]
        );
        assert_eq!(chain.state(&agent, "reminder").get("kept"), Some(&json!(0)));
    });
}

#[test]
fn it_keeps_the_contract() {
    block_on(assert_behaviour_contract(
        Contract::of::<Reminder>().samples([
            MessageBuilder::text("remind 60 a"),
            MessageBuilder::text("remind 4000 b"),
            MessageBuilder::text("remind me"),
        ]),
    ));
}
