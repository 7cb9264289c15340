//! The jobs that `tasks` accepts, and its answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentry_sdk::protocol::command::{
    Announce, Answer, CARD_MAX_AHEAD_MS, Endpoints, ExecuteAiJob, FetchResult, JobComplete,
    JobFailed, JobId, JobInput, JobProgress, Params, RESULT_MAX, Tags,
};
use agentry_sdk::protocol::message::compose;
use agentry_sdk::protocol::{
    Address, BlockHeight, ContentHash, Header, Json, KnownCommand, MessageId, Payload, PublicKey,
    Seed, SigningKey, Timestamp, Trail, TransactionHash,
};
use agentry_sdk::testing::TestEnvironment;
use agentry_sdk::{
    AnyBehaviour, Authenticity, BuildError, Card, CompletedTask, ConfigureError, Context, Desk,
    Effect, Effects, Event, Executor, Message, Outgoing, Sealing, Setup, Standing, State, Task,
    TaskError, TaskNews, TaskOutput, TaskReport, TaskStart, Tokens,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{self, Known, SENDER, address, command, context, context_in, run};

/// An executor that repeats the prompt.
#[derive(Debug)]
pub(crate) struct Echo {
    suffix: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EchoSettings {
    #[serde(default)]
    suffix: String,
}

impl Executor for Echo {
    const KIND: &'static str = "echo";
    type Settings = EchoSettings;

    fn configure(settings: EchoSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self {
            suffix: settings.suffix,
        })
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        desk.progress(0.5, None);
        let prompt = task.input["prompt"].as_str().unwrap_or_default();
        Ok(TaskOutput::text(format!("{prompt}{}", self.suffix)))
    }
}

fn build(settings: &Value) -> Result<Arc<dyn AnyBehaviour>, BuildError> {
    let settings = settings.as_object().unwrap().clone();
    let registry = agentry_behaviours::builtins().with_executor::<Echo>();
    registry.build("tasks", settings, Path::new(""))
}

/// A behaviour with one type, `say`, for every sender, and these settings.
fn tasks(more: &Value) -> Arc<dyn AnyBehaviour> {
    let mut settings = json!({ "allow": ["*"], "types": { "say": { "executor": "echo" } } });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    build(&settings).unwrap()
}

fn job(kind: &str) -> ExecuteAiJob {
    ExecuteAiJob {
        kind: kind.parse().unwrap(),
        prompt: Some("hello".parse().unwrap()),
        model: None,
        params: None,
        deadline: None,
    }
}

const ID: &str = "01935f6e-7c00-7abc-8def-0123456789ab";

fn with_id() -> Header {
    Header {
        id: Some(ID.parse().unwrap()),
        ..Header::default()
    }
}

fn asking(job: ExecuteAiJob, header: &Header) -> Message {
    command(&KnownCommand::ExecuteAiJob(job), header)
}

async fn shown(tasks: &dyn AnyBehaviour, message: Message, context: &Context) -> Effects {
    assert!(tasks.accepts(&message));
    run(tasks, Event::Message(Arc::new(message)), context).await
}

fn said(outgoing: &Outgoing) -> KnownCommand {
    let Payload::Command(command) = &outgoing.payload else {
        panic!("no command: {outgoing:?}");
    };
    KnownCommand::read(command).unwrap().unwrap()
}

/// The code of the JOB_FAILED with which a job was refused.
fn refusal(effects: &Effects) -> (JobId, String) {
    let [Effect::Reply(outgoing), Effect::Reject { reason }] = effects.as_slice() else {
        panic!("not refused: {effects:?}");
    };
    let KnownCommand::JobFailed(failed) = said(outgoing) else {
        panic!("no JOB_FAILED: {outgoing:?}");
    };
    let code = failed.error.code.to_string();
    assert!(reason.starts_with(&code), "{reason}");
    (failed.result_id, code)
}

/// The context after these effects were committed.
fn after(context: &Context, effects: &Effects) -> Context {
    let mut state: BTreeMap<String, Value> = context
        .state
        .entries()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    for effect in effects.as_slice() {
        match effect {
            Effect::SetState { key, value } => drop(state.insert(key.clone(), value.clone())),
            Effect::ClearState { key } => drop(state.remove(key)),
            _ => {}
        }
    }
    Context {
        state: State::new(state),
        ..context.clone()
    }
}

fn started(effects: &Effects) -> &TaskStart {
    let found = effects.as_slice().iter().find_map(|effect| match effect {
        Effect::StartTask(task) => Some(task),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no task was started: {effects:?}"))
}

fn report(start: &TaskStart, news: TaskNews) -> Event {
    Event::Task(TaskReport {
        task: Task {
            key: start.key.clone(),
            kind: start.kind.clone(),
            input: start.input.clone(),
            deadline: start.deadline,
            agent: "worker".to_owned(),
            submitter: Some(address(SENDER)),
            attempt: 1,
            idempotency_key: "51ab".repeat(10),
            answers: Vec::new(),
            tokens: Tokens::default(),
        },
        news,
    })
}

fn completed(text: impl Into<String>) -> TaskNews {
    TaskNews::Completed {
        output: TaskOutput::text(text),
        duration_ms: 17,
    }
}

#[tokio::test]
async fn a_job_becomes_a_task_and_its_end_an_answer() {
    let tasks = tasks(&json!({}));
    let params = Json::parse(br#"{"seed":7}"#, agentry_sdk::protocol::Limits::default()).unwrap();
    let asked = ExecuteAiJob {
        model: Some("m".parse().unwrap()),
        params: Some(Params::new(params).unwrap()),
        deadline: Some(Timestamp::new(9_000)),
        ..job("say")
    };
    let message = asking(asked, &with_id());
    let transaction = message.transaction;
    let effects = shown(tasks.as_ref(), message, &context()).await;
    let start = started(&effects);
    assert_eq!(
        *start,
        TaskStart {
            key: transaction.to_string(),
            kind: "say".to_owned(),
            input: json!({ "prompt": "hello", "model": "m", "params": { "seed": 7 } }),
            deadline: Some(Timestamp::new(9_000)),
        }
    );
    let context = after(&context(), &effects);
    assert_eq!(context.state.entries().count(), 1);

    let id = JobId::Message(ID.parse().unwrap());
    let progress = report(
        start,
        TaskNews::Progress {
            progress: 0.25,
            note: Some("on it".to_owned()),
        },
    );
    let effects = run(tasks.as_ref(), progress, &context).await;
    let [Effect::Reply(outgoing)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    let KnownCommand::JobProgress(JobProgress {
        result_id,
        progress,
        note,
    }) = said(outgoing)
    else {
        panic!("{outgoing:?}");
    };
    assert_eq!((result_id, progress.get()), (id, 0.25));
    assert_eq!(note.unwrap().as_str(), "on it");

    let effects = run(tasks.as_ref(), report(start, completed("hello!")), &context).await;
    let [Effect::ClearState { .. }, Effect::Reply(outgoing)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    let KnownCommand::JobComplete(complete) = said(outgoing) else {
        panic!("{outgoing:?}");
    };
    assert_eq!(complete.result_id, id);
    assert_eq!(complete.result.text(), "hello!");
    assert_eq!(complete.duration_ms, Some(17));
    assert_eq!(
        complete.media_type.unwrap().as_str(),
        "text/plain; charset=utf-8"
    );
    assert_eq!(outgoing.sealing, Sealing::AsAsked);
    assert_eq!(after(&context, &effects).state, State::default());
}

#[tokio::test]
async fn a_job_without_an_id_is_identified_by_its_transaction() {
    let tasks = tasks(&json!({}));
    let message = asking(job("say"), &Header::default());
    let transaction = message.transaction;
    let effects = shown(tasks.as_ref(), message, &context()).await;
    let end = report(started(&effects), completed(""));
    // Also if the state was lost.
    for context in [context(), after(&context(), &effects)] {
        let effects = run(tasks.as_ref(), end.clone(), &context).await;
        let Some(Effect::Reply(outgoing)) = effects.as_slice().last() else {
            panic!("{effects:?}");
        };
        let KnownCommand::JobComplete(JobComplete { result_id, .. }) = said(outgoing) else {
            panic!("{outgoing:?}");
        };
        assert_eq!(result_id, JobId::Transaction(transaction));
    }
}

#[tokio::test]
async fn an_end_without_result_says_why() {
    let tasks = tasks(&json!({}));
    let effects = shown(tasks.as_ref(), asking(job("say"), &with_id()), &context()).await;
    let context = after(&context(), &effects);
    let failed = |code: &str, message: &str| TaskNews::Failed {
        code: code.to_owned(),
        message: message.to_owned(),
    };
    for (news, code, message) in [
        (failed("timeout", "too slow"), "timeout", Some("too slow")),
        (failed("no\ncode", ""), "failed", None),
        (TaskNews::Canceled, "canceled", Some("it was canceled")),
    ] {
        let effects = run(tasks.as_ref(), report(started(&effects), news), &context).await;
        let [Effect::ClearState { .. }, Effect::Reply(outgoing)] = effects.as_slice() else {
            panic!("{effects:?}");
        };
        let KnownCommand::JobFailed(JobFailed { result_id, error }) = said(outgoing) else {
            panic!("{outgoing:?}");
        };
        assert_eq!(result_id, JobId::Message(ID.parse().unwrap()));
        assert_eq!(error.code.as_str(), code);
        assert_eq!(error.message.as_ref().map(AsRef::as_ref), message);
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_done_is_refused_with_a_code() {
    let id = JobId::Message(ID.parse().unwrap());
    let late = ExecuteAiJob {
        deadline: Some(Timestamp::new(1_000)),
        ..job("say")
    };
    let refused = [
        (json!({}), job("sing"), "unknown-type"),
        (json!({}), late, "deadline"),
        (
            json!({ "allow": ["ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7"] }),
            job("say"),
            "not-allowed",
        ),
        (json!({ "allow": ["nobody"] }), job("say"), "not-allowed"),
        // A sender that is not allowed does not learn the types.
        (json!({ "allow": ["nobody"] }), job("sing"), "not-allowed"),
    ];
    for (settings, job, code) in refused {
        let message = asking(job, &with_id());
        let effects = shown(tasks(&settings).as_ref(), message, &context()).await;
        assert_eq!(refusal(&effects), (id, code.to_owned()), "{settings}");
    }
    let unreadable = support::message(
        &Json::object([
            ("cmd", Json::string("EXECUTE_AI_JOB")),
            ("type", Json::integer(5)),
        ]),
        Authenticity::Verified,
    );
    let effects = shown(tasks(&json!({})).as_ref(), unreadable, &context()).await;
    assert_eq!(refusal(&effects).1, "bad-parameters");
    // Control characters take six bytes each in the task.
    let large = ExecuteAiJob {
        prompt: Some("\u{1}".repeat(250 << 10).parse().unwrap()),
        ..job("say")
    };
    let body = KnownCommand::ExecuteAiJob(large).body();
    let large = support::message(&body, Authenticity::Verified);
    let effects = shown(tasks(&json!({})).as_ref(), large, &context()).await;
    assert_eq!(refusal(&effects).1, "too-large");
}

#[tokio::test]
async fn no_more_jobs_than_the_limit_are_accepted() {
    let tasks = tasks(&json!({ "max_jobs": 1 }));
    let first = shown(
        tasks.as_ref(),
        asking(job("say"), &Header::default()),
        &context(),
    )
    .await;
    let full = after(&context(), &first);
    let second = shown(tasks.as_ref(), asking(job("say"), &with_id()), &full).await;
    assert_eq!(refusal(&second).1, "busy");
    let ended = run(
        tasks.as_ref(),
        report(started(&first), completed("")),
        &full,
    )
    .await;
    let free = after(&full, &ended);
    started(&shown(tasks.as_ref(), asking(job("say"), &with_id()), &free).await);
}

#[tokio::test]
async fn one_sender_cannot_use_the_whole_limit() {
    let tasks = tasks(&json!({ "max_jobs": 20 }));
    let mut context = context();
    let mut asked = 0_u8;
    let mut ask = async |from: &str, standing| {
        let from = address(from);
        asked += 1;
        let message = Message {
            from,
            standing,
            transaction: TransactionHash::of(&[asked]),
            ..asking(job("say"), &with_id())
        };
        let effects = shown(tasks.as_ref(), message, &context).await;
        let busy = effects
            .as_slice()
            .iter()
            .any(|effect| matches!(effect, Effect::Reject { .. }));
        if !busy {
            context = after(&context, &effects);
        }
        !busy
    };
    // A tenth each, a quarter together; half for a known sender.
    assert!(ask("ait1one", Standing::Stranger).await);
    assert!(ask("ait1one", Standing::Stranger).await);
    assert!(!ask("ait1one", Standing::Stranger).await);
    for from in ["ait1two", "ait1three", "ait1four"] {
        assert!(ask(from, Standing::Stranger).await, "{from}");
    }
    assert!(!ask("ait1five", Standing::Stranger).await);
    for _ in 0..10 {
        assert!(ask("ait1known", Standing::Known).await);
    }
    assert!(!ask("ait1known", Standing::Known).await);
    assert!(ask("ait1other", Standing::Known).await);
}

fn key(byte: u8) -> PublicKey {
    SigningKey::from_seed(&Seed::from_bytes([byte; 32])).public_key()
}

/// A job from the owner of a key, with one form of the owner's address.
fn asking_as(key: &PublicKey, from: Address) -> Message {
    let header = Header {
        key: Some(*key),
        ..with_id()
    };
    Message {
        from,
        ..asking(job("say"), &header)
    }
}

fn card(key: &PublicKey, capability: &str) -> Card {
    Card {
        address: Address::from_public_key(key),
        public_key: *key,
        card: Announce {
            name: "alice".parse().unwrap(),
            description: None,
            capabilities: Tags::new(vec![capability.parse().unwrap()]).unwrap(),
            commands: Tags::default(),
            enc_key: None,
            schemas: None,
            endpoints: Endpoints::default(),
            expires: Timestamp::new(CARD_MAX_AHEAD_MS),
        },
        transaction: TransactionHash::of(b"card"),
        height: BlockHeight(1),
    }
}

#[tokio::test]
async fn a_rule_allows_both_forms_of_the_senders_address() {
    let (alice, mallory) = (key(1), key(2));
    let address = Address::from_public_key(&alice);
    let rules = [
        json!({ "allow": [address.as_str()] }),
        json!({ "allow": [Address::bech32_from_public_key(&alice).as_str()] }),
        json!({ "allow": ["alice"] }),
        json!({ "allow": [], "allow_capability": "boss" }),
    ];
    for rule in rules {
        let tasks = tasks(&rule);
        let context = || {
            context_in(Known {
                cards: vec![card(&alice, "boss"), card(&mallory, "thief")],
                names: BTreeMap::from([("alice".to_owned(), address.clone())]),
                ..Known::default()
            })
        };
        let forms = |key| {
            [
                Address::from_public_key(key),
                Address::bech32_from_public_key(key),
            ]
        };
        for from in forms(&alice) {
            let effects = shown(tasks.as_ref(), asking_as(&alice, from), &context()).await;
            started(&effects);
        }
        for from in forms(&mallory) {
            let effects = shown(tasks.as_ref(), asking_as(&mallory, from), &context()).await;
            assert_eq!(refusal(&effects).1, "not-allowed", "{rule}");
        }
        // Another sender's key proves nothing.
        let from = Address::from_public_key(&mallory);
        let effects = shown(tasks.as_ref(), asking_as(&alice, from), &context()).await;
        assert_eq!(refusal(&effects).1, "not-allowed", "{rule}");
        // Nor does an unverified message.
        let unproven = Message {
            authenticity: Authenticity::Unverified,
            ..asking_as(&alice, address.clone())
        };
        let effects = shown(tasks.as_ref(), unproven, &context()).await;
        assert_eq!(refusal(&effects).1, "not-allowed", "{rule}");
    }
}

#[tokio::test]
async fn a_job_is_canceled_by_its_submitter() {
    let tasks = tasks(&json!({}));
    let asked = asking(job("say"), &with_id());
    let transaction = asked.transaction;
    let effects = shown(tasks.as_ref(), asked, &context()).await;
    let context = after(&context(), &effects);
    let cancel = |re| {
        command(
            &KnownCommand::CancelJob,
            &Header {
                re,
                ..Header::default()
            },
        )
    };

    let effects = shown(tasks.as_ref(), cancel(Some(transaction)), &context).await;
    let key = transaction.to_string();
    assert_eq!(effects.as_slice(), [Effect::CancelTask { key }]);

    let stranger = Message {
        from: address("ait1stranger"),
        ..cancel(Some(transaction))
    };
    let unknown = cancel(Some(TransactionHash::of(b"another")));
    let mut reasons = Vec::new();
    for refused in [stranger, unknown, cancel(None)] {
        let effects = shown(tasks.as_ref(), refused, &context).await;
        let [Effect::Reject { reason }] = effects.as_slice() else {
            panic!("{effects:?}");
        };
        reasons.push(reason.clone());
    }
    reasons.dedup();
    assert_eq!(
        reasons.len(),
        1,
        "a stranger learns which jobs there are: {reasons:?}"
    );
}

#[tokio::test]
async fn a_question_of_a_job_is_answered_by_its_submitter() {
    let tasks = tasks(&json!({}));
    let asked = asking(job("say"), &with_id());
    let transaction = asked.transaction;
    let effects = shown(tasks.as_ref(), asked, &context()).await;
    let context = after(&context(), &effects);

    let until = Timestamp::new(5_000);
    let news = TaskNews::InputRequired {
        number: 1,
        question: "how loud?".to_owned(),
        schema: Some(json!({ "type": "integer" })),
        until,
    };
    let question = run(tasks.as_ref(), report(started(&effects), news), &context).await;
    let [Effect::Reply(outgoing)] = question.as_slice() else {
        panic!("{question:?}");
    };
    let KnownCommand::JobInputRequired(required) = said(outgoing) else {
        panic!("{outgoing:?}");
    };
    assert_eq!(required.result_id, JobId::Message(ID.parse().unwrap()));
    assert_eq!(required.number.get(), 1);
    assert_eq!(required.question.as_str(), "how loud?");
    assert_eq!(required.until, Some(until));

    let answer = |re| {
        let answer = Json::array([Json::integer(3), Json::string("loud")]);
        let input = JobInput {
            number: required.number,
            answer: Answer::new(answer).unwrap(),
        };
        let header = Header {
            re,
            ..Header::default()
        };
        command(&KnownCommand::JobInput(input), &header)
    };
    let effects = shown(tasks.as_ref(), answer(Some(transaction)), &context).await;
    let expected = Effect::AnswerTask {
        key: transaction.to_string(),
        number: 1,
        answer: json!([3, "loud"]),
    };
    assert_eq!(effects.as_slice(), [expected]);

    let stranger = Message {
        from: address("ait1stranger"),
        ..answer(Some(transaction))
    };
    let unknown = answer(Some(TransactionHash::of(b"another")));
    for refused in [stranger, unknown, answer(None)] {
        let effects = shown(tasks.as_ref(), refused, &context).await;
        assert!(
            matches!(effects.as_slice(), [Effect::Reject { .. }]),
            "{effects:?}"
        );
    }
}

/// The parts of a result that a job's submitter gets, one after the other.
#[tokio::test]
async fn a_result_is_sent_in_parts_to_its_submitter() {
    let whole = "äöü€𝄞\u{1}".repeat(2000);
    let environment = TestEnvironment::new();
    let asked = asking(job("say"), &with_id());
    let done = CompletedTask {
        submitter: Some(address(SENDER)),
        output: TaskOutput::text(whole.clone()),
    };
    environment.complete("worker", "it", &asked.transaction.to_string(), done);
    let context = Context {
        environment: Arc::new(environment),
        ..context()
    };
    let fetch = |re, offset| {
        let header = Header {
            re,
            ..Header::default()
        };
        command(&KnownCommand::FetchResult(FetchResult { offset }), &header)
    };
    let job = Some(asked.transaction);
    for (inline_limit, largest) in [("0B", 1024), ("3KiB", 3072), ("256KiB", 1 << 18)] {
        let tasks = tasks(&json!({ "inline_limit": inline_limit }));
        let mut text = String::new();
        while text.len() < whole.len() {
            let offset = text.len() as u64;
            let effects = shown(tasks.as_ref(), fetch(job, offset), &context).await;
            let [Effect::Reply(outgoing)] = effects.as_slice() else {
                panic!("{effects:?}");
            };
            let KnownCommand::JobResult(part) = said(outgoing) else {
                panic!("{outgoing:?}");
            };
            assert_eq!(part.offset(), offset);
            assert_eq!(part.bytes(), whole.len() as u64);
            assert_eq!(*part.sha256(), ContentHash::of(whole.as_bytes()));
            assert!(part.text().len() <= largest, "{inline_limit}");
            text.push_str(part.text());
        }
        assert_eq!(text, whole);
    }

    let tasks = tasks(&json!({}));
    let stranger = Message {
        from: address("ait1stranger"),
        ..fetch(job, 0)
    };
    let refused = [
        stranger,
        fetch(Some(TransactionHash::of(b"another")), 0),
        fetch(None, 0),
        // In a character, at the end, behind it.
        fetch(job, 1),
        fetch(job, whole.len() as u64),
        fetch(job, u64::MAX),
    ];
    for message in refused {
        let effects = shown(tasks.as_ref(), message, &context).await;
        let [Effect::Reply(outgoing), Effect::Reject { .. }] = effects.as_slice() else {
            panic!("{effects:?}");
        };
        let KnownCommand::JobFailed(failed) = said(outgoing) else {
            panic!("{outgoing:?}");
        };
        assert_eq!(failed.error.code.as_str(), "no-result");
    }
}

async fn complete(settings: &Value, text: &str) -> (JobComplete, Outgoing) {
    let tasks = tasks(settings);
    let effects = shown(tasks.as_ref(), asking(job("say"), &with_id()), &context()).await;
    let end = report(started(&effects), completed(text));
    let effects = run(tasks.as_ref(), end, &after(&context(), &effects)).await;
    let Some(Effect::Reply(outgoing)) = effects.as_slice().last() else {
        panic!("{effects:?}");
    };
    let KnownCommand::JobComplete(complete) = said(outgoing) else {
        panic!("{outgoing:?}");
    };
    (complete, outgoing.clone())
}

#[tokio::test]
async fn a_long_result_is_cut_with_its_whole_length_and_hash() {
    let whole = "é".repeat(1 << 20);
    let (complete_job, outgoing) =
        complete(&json!({ "inline_limit": 5, "seal_results": true }), &whole).await;
    assert_eq!(complete_job.result.text(), "éé");
    assert_eq!(complete_job.result.bytes(), 2 << 20);
    assert_eq!(
        *complete_job.result.sha256(),
        ContentHash::of(whole.as_bytes())
    );
    assert_eq!(outgoing.sealing, Sealing::Always);

    let (complete_job, _) = complete(&json!({}), &whole).await;
    assert_eq!(complete_job.result.text().len(), 32 << 10);
}

#[tokio::test]
async fn any_result_fits_in_a_message() {
    for character in ["a", "\u{1}", "\\", "é", "漢", "😀"] {
        let whole = character.repeat(RESULT_MAX / character.len());
        let (complete, outgoing) = complete(&json!({ "inline_limit": "256KiB" }), &whole).await;
        let id: MessageId = ID.parse().unwrap();
        let header = Header {
            id: Some(id),
            re: Some(TransactionHash::of(b"question")),
            thread: Some("t".repeat(128).parse().unwrap()),
            exp: Some(Timestamp::MAX),
            ack: None,
            trail: Trail {
                hops: u32::MAX,
                trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
                    .parse()
                    .ok(),
            },
            key: Some(key(1)),
        };
        compose(&outgoing.payload, Some(&header)).unwrap();
        assert!(complete.result.text().len() > 32 << 10, "{character:?}");
        assert_eq!(complete.result.bytes(), whole.len() as u64);
    }
}

#[tokio::test]
async fn the_executor_of_the_type_does_the_task() {
    let tasks = build(&json!({
        "allow": ["*"],
        "types": {
            "say": { "executor": "echo", "suffix": "!" },
            "shout": {
                "executor": "echo", "suffix": "!!!", "concurrency": 4, "time_limit": "5m",
                "attempts": 2, "progress_every": "10s"
            },
        }
    }))
    .unwrap();
    assert_eq!(tasks.capabilities(), ["task:say", "task:shout"]);
    assert_eq!(
        tasks.commands(),
        ["EXECUTE_AI_JOB", "CANCEL_JOB", "JOB_INPUT", "FETCH_RESULT"]
    );
    assert_eq!(tasks.demands(), Authenticity::Verified);

    let limits = tasks.task_limits("shout");
    assert_eq!((limits.concurrency, limits.attempts), (4, 2));
    assert_eq!(limits.time, Duration::from_secs(300));
    assert_eq!(limits.progress_every, Some(Duration::from_secs(10)));
    assert_eq!(tasks.task_limits("say").progress_every, None);

    let desk = Desk::new(|_, _| {});
    let effects = shown(tasks.as_ref(), asking(job("shout"), &with_id()), &context()).await;
    let Event::Task(TaskReport { task, .. }) = report(started(&effects), completed("")) else {
        panic!("no task");
    };
    let output = tasks.execute(&task, &desk).await.unwrap();
    assert_eq!(output.text, "hello!!!");
    let gone = Task {
        kind: "sing".to_owned(),
        ..task
    };
    let error = tasks.execute(&gone, &desk).await.unwrap_err();
    // The job was accepted, so the message is not rejected.
    assert_eq!(error.code(), "type-removed");
    assert!(!error.is_transient());
}

#[test]
fn invalid_settings_are_refused_with_a_fix() {
    let with_type = |kind: &Value| json!({ "allow": ["*"], "types": { "say": kind } });
    for (settings, expected) in [
        (
            json!({ "types": { "say": { "executor": "echo" } } }),
            "no sender may submit jobs",
        ),
        (json!({ "allow": ["*"] }), "missing field `types`"),
        (json!({ "allow": ["*"], "types": {} }), "`types` is empty"),
        (json!({ "allow": [""], "types": {} }), "empty name"),
        (
            json!({ "allow": ["ait1x"], "types": {} }),
            "\"ait1x\" is not an address",
        ),
        (
            with_type(&json!({})),
            "`types.say`: missing field `executor`",
        ),
        (
            with_type(&json!({ "executor": "ech" })),
            "unknown executor \"ech\"; this binary knows",
        ),
        (
            with_type(&json!({ "executor": "echo", "sufix": "" })),
            "unknown field `sufix`, expected `suffix`, `executor`, `concurrency`",
        ),
        (
            with_type(&json!({ "executor": "echo", "concurrency": 0 })),
            "`concurrency` is 0; it must be",
        ),
        (
            with_type(&json!({ "executor": "echo", "attempts": 1000 })),
            "`attempts` is 1000",
        ),
        (
            with_type(&json!({ "executor": "echo", "time_limit": "0s" })),
            "`time_limit` is 0s",
        ),
        (
            with_type(&json!({ "executor": "echo", "time_limit": 5 })),
            "a duration in quotes",
        ),
        (
            with_type(&json!({ "executor": "echo", "progress_every": "10ms" })),
            "`progress_every` is 10ms",
        ),
        (
            json!({ "allow": ["*"], "types": { "a\nb": { "executor": "echo" } } }),
            "is not allowed there",
        ),
        (
            json!({ "allow": ["*"], "inline_limit": "1MiB", "types": { "say": { "executor": "echo" } } }),
            "`inline_limit` is 1MiB; it must be from 0B to 256KiB",
        ),
        (
            json!({ "allow": ["*"], "max_jobs": 0, "types": { "say": { "executor": "echo" } } }),
            "`max_jobs` is 0",
        ),
        (
            json!({ "allow_capability": "", "types": { "say": { "executor": "echo" } } }),
            "`allow_capability`: it is empty",
        ),
    ] {
        let error = build(&settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{settings}: {error}");
    }
}
