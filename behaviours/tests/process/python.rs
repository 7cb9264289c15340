//! A Python example and the Python package, run as real programs.

use std::sync::Arc;
use std::time::Duration;

use agentry_behaviours::process::Process;
use agentry_sdk::protocol::{
    AckRequest, BlockHeight, Json, Payload, Thread, Timestamp, TransactionHash,
};
use agentry_sdk::testing::{
    Agent, Contract, MessageBuilder, Simulation, assert_behaviour_contract,
};
use agentry_sdk::{
    DeliveryUpdate, Effect, Effects, Event, Outgoing, Sealing, SentMessage, Settlement, State,
    TaskNews, TaskOutput, TaskReport, Timer, Tokens,
};
use serde_json::{Value, json};

use crate::support::{
    address, ask, build, context, examples, python, python_program, reply, text, with,
};

/// The keys that docs/process.md gives the greeter.
fn greeter() -> Value {
    json!({
        "program": examples().join("greeter.py").to_str().unwrap(),
        "declared": examples().join("greeter.json").to_str().unwrap(),
        "env": { "PYTHONPATH": python().to_str().unwrap(), "PYTHONDONTWRITEBYTECODE": "1" },
    })
}

fn greet(name: &str) -> MessageBuilder {
    let command = json!({ "cmd": "GREET", "name": name }).to_string();
    MessageBuilder::raw(Json::string(command))
}

fn said_to(chain: &Simulation, who: &agentry_sdk::testing::Party) -> Vec<String> {
    let sent = chain.sent_to(who);
    sent.iter()
        .filter_map(|sent| sent.text().map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn the_greeter_greets_and_counts_visits_and_writes_later() {
    let mut chain = Simulation::new(11);
    let settings = with(
        greeter(),
        "settings",
        json!({ "greeting": "Good day", "ask_after": 60 }),
    );
    let agent = chain.host(Agent::named("greeter").with::<Process>(settings));
    let (ada, bob) = (chain.peer("ada"), chain.peer("bob"));

    let first = chain.deliver(greet("Ada").from(&ada)).await;
    chain.replay(first);
    chain.crash_before_commit(&agent);
    chain.deliver(greet("Ada").from(&ada).with_id()).await;
    chain.deliver(greet("Bob").from(&bob)).await;
    let nonsense = chain.deliver(greet("\u{1b}[2J").from(&bob).with_id()).await;
    assert_eq!(
        said_to(&chain, &ada),
        ["Good day, Ada!", "Welcome back, Ada! That makes 2 times."]
    );
    assert_eq!(said_to(&chain, &bob), ["Good day, Bob!"]);
    assert!(matches!(
        chain.settlement(nonsense),
        Some(Settlement::Rejected { .. })
    ));
    assert_eq!(chain.timers(&agent, "process").len(), 2);

    chain.restart();
    chain.advance(Duration::from_secs(61)).await;
    assert_eq!(
        said_to(&chain, &ada).last().unwrap(),
        "How have you been, Ada?"
    );
    assert_eq!(
        said_to(&chain, &bob).last().unwrap(),
        "How have you been, Bob?"
    );
    assert!(chain.timers(&agent, "process").is_empty());
    assert!(
        chain.dead_letters().is_empty(),
        "{:?}",
        chain.dead_letters()
    );
}

#[tokio::test]
async fn the_greeter_deletes_visitors_that_it_cannot_reach() {
    let sent = SentMessage {
        label: "ask:ait1ada".to_owned(),
        to: address("ait1ada"),
        id: None,
        transaction: None,
    };
    let unsent = DeliveryUpdate::Unsent {
        reason: "no funds".to_owned(),
    };
    let behaviour = build(&greeter());
    let mut context = context();
    let visits = json!({ "visits": 1, "last_ms": 1 });
    context.state = State::new([("visitor:ait1ada".to_owned(), visits)]);
    let effects = behaviour
        .on_event(&Event::DeliveryUpdate(sent, unsent), &context)
        .await
        .unwrap();
    assert_eq!(effects, Effects::none().clear_state("visitor:ait1ada"));
}

#[tokio::test]
async fn the_greeter_keeps_a_bounded_number_of_visitors() {
    let mut context = context();
    context.state = State::new((0..1000_u64).map(|index| {
        let seen = json!({ "visits": 1, "last_ms": 1_000_000 - index });
        (format!("visitor:ait1{index}"), seen)
    }));
    let command = json!({ "cmd": "GREET" }).to_string();
    let message = crate::support::message(&json!(command).to_string());
    let behaviour = build(&greeter());
    let effects = behaviour
        .on_event(&Event::Message(Arc::new(message)), &context)
        .await
        .unwrap();
    let deleted = Effect::ClearState {
        key: "visitor:ait1999".to_owned(),
    };
    assert!(effects.as_slice().contains(&deleted), "{effects:?}");
}

#[tokio::test]
async fn the_greeter_keeps_the_contract() {
    assert_behaviour_contract(
        Contract::of::<Process>()
            .settings(with(greeter(), "settings", json!({ "ask_after": 30 })))
            .samples([
                greet("Ada"),
                greet("Bob").with_id(),
                greet(""),
                greet("Ada").with_id(),
            ])
            .histories(3),
    )
    .await;
}

#[tokio::test]
async fn settings_that_a_program_refuses_are_logged_and_fail_the_run() {
    let behaviour = build(&with(greeter(), "settings", json!({ "greting": "Hi" })));
    let error = ask(&behaviour, "hello").await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(error.to_string(), "the program ended (exit status: 1)");
}

#[tokio::test]
async fn every_effect_of_the_module_is_one_of_the_sdk() {
    let behaviour = build(&python_program(
        "import agentry.behaviour as agentry
class All(agentry.Behaviour):
    def on_message(self, message, context):
        print('this goes into the log')
        return (agentry.Effects()
            .reply('é', amount=3, thread='t', expires_in=1.5, acknowledge='done', within=2,
                   resends=4, sealing='if_possible', label='l')
            .send('ait1other', {'cmd': 'X', 'n': [1, 2.5, None, True, {'a': 'b'}]})
            .set_state('k', {'a': 1})
            .clear_state('k')
            .schedule('t', 0.25, [1])
            .unschedule('t')
            .start_task('k', 'kind', {'a': 1}, deadline_ms=9)
            .cancel_task('k')
            .reject('no'))
agentry.run(All())",
    ));
    let effects = ask(&behaviour, "hello").await.unwrap();
    effects.check().unwrap();
    let thread: Thread = "t".parse().unwrap();
    let expected = Effects::none()
        .reply_with(
            Outgoing::text("é")
                .amount(3)
                .thread(thread)
                .expiring(Duration::from_millis(1500))
                .acknowledged(AckRequest::Done, Duration::from_secs(2), 4)
                .sealing(Sealing::IfPossible)
                .label("l"),
        )
        .send_with(
            address("ait1other"),
            Outgoing::new(Payload::read(
                &r#"{"cmd":"X","n":[1,2.5,null,true,{"a":"b"}]}"#.parse().unwrap(),
            )),
        )
        .set_state("k", json!({ "a": 1 }))
        .clear_state("k")
        .schedule("t", Duration::from_millis(250), json!([1]))
        .unschedule("t")
        .start_task(agentry_sdk::TaskStart {
            key: "k".to_owned(),
            kind: "kind".to_owned(),
            input: json!({ "a": 1 }),
            deadline: Some(Timestamp::new(9)),
        })
        .cancel_task("k")
        .reject("no");
    assert_eq!(effects, expected);
}

#[tokio::test]
async fn exceptions_are_failures_of_one_run() {
    let behaviour = build(&python_program(
        "import agentry.behaviour as agentry
class Fails(agentry.Behaviour):
    def on_message(self, message, context):
        if message.text == 'permanent': raise agentry.Permanent('never')
        if message.text == 'public': raise agentry.Transient('key s3cret', public='come back later')
        if message.text == 'reject': raise agentry.Reject('ask me nicely')
        if message.text == 'transient': raise agentry.Transient('not now')
        if message.text == 'bug': return 1 / 0
        if message.text == 'nan': return agentry.Effects().set_state('k', float('nan'))
        if message.text == 'object': return agentry.Effects().set_state('k', object())
        return agentry.Effects().reply('well')
agentry.run(Fails())",
    ));
    for (said, transient, expected) in [
        ("permanent", false, "Permanent: never"),
        ("transient", true, "Transient: not now"),
        ("public", true, "Transient: key s3cret"),
        ("bug", true, "ZeroDivisionError: division by zero"),
        ("nan", true, "ValueError: Out of range float"),
        ("object", true, "TypeError: Object of type object"),
    ] {
        let error = ask(&behaviour, said).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{error}");
        assert!(error.to_string().starts_with(expected), "{error}");
        // The sender is told only the text that the author set for this purpose.
        let public = match said {
            "public" => "come back later",
            _ => "acting on it failed",
        };
        assert_eq!(error.public(), public);
        assert_eq!(reply(&ask(&behaviour, "hello").await.unwrap()), "well");
    }
    let rejected = Effects::none().reject("ask me nicely");
    assert_eq!(ask(&behaviour, "reject").await.unwrap(), rejected);
}

#[tokio::test]
async fn numbers_keep_all_digits_or_are_refused_by_name() {
    let behaviour = build(&python_program(
        "import agentry.behaviour as agentry, json
class Keeps(agentry.Behaviour):
    def on_message(self, message, context):
        value = json.loads(message.text)
        return (agentry.Effects().set_state('k', {'deep': [value]}).schedule('t', 1, value)
            .start_task('t', 'k', value).send('ait1other', {'cmd': 'X', 'n': value}))
agentry.run(Keeps())",
    ));
    for value in [
        "18446744073709551615",
        "-9223372036854775808",
        "9007199254740993",
        "0.30000000000000004",
        "5e-324",
        "1.7976931348623157e308",
        "1.0",
        "-0.0",
    ] {
        let effects = ask(&behaviour, value).await.unwrap();
        let expected: Value = serde_json::from_str(value).unwrap();
        let [
            Effect::SetState { value: kept, .. },
            Effect::Schedule { data, .. },
            Effect::StartTask(task),
            Effect::Send(sent),
        ] = effects.as_slice()
        else {
            panic!("{effects:?}");
        };
        let Payload::Command(command) = &sent.outgoing.payload else {
            panic!("{sent:?}");
        };
        let said = command.body.root().get("n").unwrap().to_compact();
        let said: Value = serde_json::from_str(&said).unwrap();
        for found in [&kept["deep"][0], data, &task.input, &said] {
            assert_eq!(found.to_string(), expected.to_string(), "{value}");
        }
    }
    for value in [
        "18446744073709551616",
        "-9223372036854775809",
        "1000000000000000000001",
    ] {
        let error = ask(&behaviour, value).await.unwrap_err();
        assert!(!error.is_transient());
        let told = format!("the integer {value} at `effects[0].value.deep[0]`");
        assert!(error.to_string().contains(&told), "{error}");
    }
    // The program still runs.
    ask(&behaviour, "1").await.unwrap();
}

#[tokio::test]
async fn an_amount_of_more_than_64_bits_is_shown_as_text() {
    let behaviour = build(&python_program(
        "import agentry.behaviour as agentry
class Tells(agentry.Behaviour):
    def on_message(self, message, context):
        return agentry.Effects().reply(f'{message.amount} {message.amount_text}')
agentry.run(Tells())",
    ));
    for (amount, told) in [
        ("0", "0 None"),
        ("9223372036854775808", "9223372036854775808 None"),
        ("18446744073709551615", "18446744073709551615 None"),
        ("18446744073709551616", "None 18446744073709551616"),
        ("-1", "None -1"),
        ("1.5", "None 1.5"),
    ] {
        let mut message = crate::support::message("\"hello\"");
        message.amount = amount.parse().unwrap();
        let effects = behaviour
            .on_event(&Event::Message(Arc::new(message)), &context())
            .await
            .unwrap();
        assert_eq!(reply(&effects), told);
    }
}

#[tokio::test]
async fn each_of_many_senders_gets_its_own_answer() {
    let settings = python_program(
        "import agentry.behaviour as agentry, os
class Echo(agentry.Behaviour):
    def on_message(self, message, context):
        return agentry.Effects().reply(message.text).set_state('pid', os.getpid())
agentry.run(Echo())",
    );
    for in_flight in [1, 16, 256] {
        let behaviour = build(&with(settings.clone(), "in_flight", in_flight));
        let runs: Vec<_> = (0..500)
            .map(|index| {
                let behaviour = Arc::clone(&behaviour);
                tokio::spawn(async move {
                    let said = format!("message {index} {}", "x".repeat(index * 10));
                    (ask(&behaviour, &said).await.unwrap(), said)
                })
            })
            .collect();
        let mut pids = std::collections::HashSet::new();
        for run in runs {
            let (effects, said) = run.await.unwrap();
            let [Effect::Reply(outgoing), Effect::SetState { value, .. }] = effects.as_slice()
            else {
                panic!("{effects:?}");
            };
            assert_eq!(outgoing.payload, Payload::Text(said));
            pids.insert(value.to_string());
        }
        assert_eq!(pids.len(), 1, "one entry of agents.toml is one program");
    }
}

#[tokio::test]
async fn every_event_reaches_its_handler() {
    let behaviour = build(&python_program(
        "import agentry.behaviour as agentry
def told(*what): return agentry.Effects().reply(repr(what))
class Tells(agentry.Behaviour):
    def on_message(self, message, context): return told(message.text, message.verified)
    def on_timer(self, timer, context): return told(timer.name, timer.data, timer.due_ms)
    def on_delivery_update(self, sent, update, context): return told(sent.label, sent.to, update.update,
        update.height, update.detail, update.reason)
    def on_settled(self, message, settlement, context): return told(message.text,
        settlement.settlement, settlement.reason)
    def on_task(self, report, context): return told(report.task.key, report.news, report.progress,
        report.output and report.output.text, report.code, report.message)
agentry.run(Tells())",
    ));
    let sent = SentMessage {
        label: "l".to_owned(),
        to: address("ait1other"),
        id: None,
        transaction: Some(TransactionHash::of(b"t")),
    };
    let update = |update: DeliveryUpdate| Event::DeliveryUpdate(sent.clone(), update);
    let Event::Message(message) = text("hello") else {
        panic!("a text is a message");
    };
    let settled = |settlement| Event::Settled(Arc::clone(&message), settlement);
    let task = |news| {
        Event::Task(TaskReport {
            task: agentry_sdk::Task {
                key: "k".to_owned(),
                kind: "kind".to_owned(),
                input: Value::Null,
                deadline: None,
                agent: "worker".to_owned(),
                submitter: None,
                attempt: 1,
                idempotency_key: "51ab".repeat(10),
                answers: Vec::new(),
                tokens: Tokens::default(),
            },
            news,
        })
    };
    let some = |text: &str| Some(text.to_owned());
    for (event, told) in [
        (text("hello"), "('hello', True)"),
        (
            Event::Timer(Timer {
                name: "t".to_owned(),
                data: json!([1]),
                due_at: Timestamp::new(5),
            }),
            "('t', [1], 5)",
        ),
        (
            update(DeliveryUpdate::Mined {
                height: BlockHeight(9),
            }),
            "('l', 'ait1other', 'mined', 9, None, None)",
        ),
        (
            update(DeliveryUpdate::Received),
            "('l', 'ait1other', 'received', None, None, None)",
        ),
        (
            update(DeliveryUpdate::Accepted { detail: some("d") }),
            "('l', 'ait1other', 'accepted', None, 'd', None)",
        ),
        (
            update(DeliveryUpdate::Done { detail: None }),
            "('l', 'ait1other', 'done', None, None, None)",
        ),
        (
            update(DeliveryUpdate::Failed { detail: some("d") }),
            "('l', 'ait1other', 'failed', None, 'd', None)",
        ),
        (
            update(DeliveryUpdate::Rejected { detail: some("d") }),
            "('l', 'ait1other', 'rejected', None, 'd', None)",
        ),
        (
            update(DeliveryUpdate::Expired),
            "('l', 'ait1other', 'expired', None, None, None)",
        ),
        (
            update(DeliveryUpdate::Unacknowledged),
            "('l', 'ait1other', 'unacknowledged', None, None, None)",
        ),
        (
            update(DeliveryUpdate::Unsent {
                reason: "r".to_owned(),
            }),
            "('l', 'ait1other', 'unsent', None, None, 'r')",
        ),
        (settled(Settlement::Done), "('hello', 'done', None)"),
        (
            settled(Settlement::Failed {
                reason: "r".to_owned(),
            }),
            "('hello', 'failed', 'r')",
        ),
        (
            settled(Settlement::Rejected {
                reason: "r".to_owned(),
            }),
            "('hello', 'rejected', 'r')",
        ),
        (settled(Settlement::Expired), "('hello', 'expired', None)"),
        (
            task(TaskNews::Progress {
                progress: 0.5,
                note: None,
            }),
            "('k', 'progress', 0.5, None, None, None)",
        ),
        (
            task(TaskNews::Completed {
                output: TaskOutput::text("o"),
                duration_ms: 3,
            }),
            "('k', 'completed', None, 'o', None, None)",
        ),
        (
            task(TaskNews::Failed {
                code: "c".to_owned(),
                message: "m".to_owned(),
            }),
            "('k', 'failed', None, None, 'c', 'm')",
        ),
        (
            task(TaskNews::Canceled),
            "('k', 'canceled', None, None, None, None)",
        ),
    ] {
        let effects = behaviour.on_event(&event, &context()).await.unwrap();
        assert_eq!(reply(&effects), told);
    }
}

#[test]
fn the_package_and_the_examples_cause_no_warning() {
    let mut files = 0;
    for folder in [python().join("agentry"), examples()] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "py") {
                continue;
            }
            let output = std::process::Command::new("python3")
                .args(["-W", "error", "-c"])
                .arg("import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')")
                .arg(&path)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            files += 1;
        }
    }
    assert!(files > 10, "{files}");
}
