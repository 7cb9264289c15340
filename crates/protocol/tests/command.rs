//! Commands: read with clear errors, and read back unchanged after they are written.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use agentry_protocol::command::{
    Ack, AckStatus, Announce, CARD_MAX_AHEAD_MS, CardTimeError, CommandError, CommandFault,
    DETAIL_MAX, ENDPOINTS_MAX, Endpoint, Endpoints, ExecuteAiJob, JobComplete, JobError, JobFailed,
    JobId, JobProgress, JobResult, PARAMS_MAX, PROMPT_MAX, Params, Progress, QueueCounts,
    RESULT_MAX, SCHEMAS_MAX, Schemas, Sealed, Status, StatusReport, TAGS_MAX, Tag, Tags,
    TaskCounts,
};
use agentry_protocol::{
    EncryptionKey, Envelope, Json, KnownCommand, MessageId, Payload, Timestamp, TransactionHash,
    compose,
};
use proptest::prelude::*;

const ID: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
const HASH: &str = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn read(body: &str) -> Result<Option<KnownCommand>, CommandError> {
    match Payload::read(&body.parse().unwrap()) {
        Payload::Command(command) => KnownCommand::read(&command),
        other => panic!("no command: {other:?}"),
    }
}

fn known(body: &str) -> KnownCommand {
    read(body).unwrap().unwrap()
}

fn refused(body: &str) -> (&'static str, &'static str, CommandFault) {
    let error = read(body).unwrap_err();
    (error.cmd, error.field, error.reason)
}

#[test]
fn commands_without_parameters() {
    for (body, command) in [
        (r#"{"cmd":"PING"}"#, KnownCommand::Ping),
        (r#"{"cmd":"PONG","msg":{"v":1}}"#, KnownCommand::Pong),
        (r#"{"cmd":"WITHDRAW","more":1}"#, KnownCommand::Withdraw),
        (r#"{"cmd":"CANCEL_JOB"}"#, KnownCommand::CancelJob),
    ] {
        assert_eq!(known(body), command);
    }
    for unknown in ["ping", "Ping", "", "PING ", "RESTART"] {
        assert_eq!(read(&format!(r#"{{"cmd":"{unknown}"}}"#)), Ok(None));
    }
}

#[test]
fn acknowledgments() {
    let ack = |status, detail: Option<&str>| {
        KnownCommand::Ack(Ack {
            status,
            detail: detail.map(|text| text.parse().unwrap()),
        })
    };
    for status in AckStatus::ALL {
        let body = format!(r#"{{"cmd":"ACK","status":"{status}","detail":"so\nso"}}"#);
        assert_eq!(known(&body), ack(status, Some("so\nso")));
    }
    let ready = known(r#"{"cmd":"ACK","status":"READY","detail":null}"#);
    assert_eq!(ready, ack(AckStatus::Accepted, None));
    assert_eq!(
        ready.body().to_compact(),
        r#"{"cmd":"ACK","status":"ACCEPTED"}"#
    );
    let last: Vec<_> = AckStatus::ALL
        .iter()
        .map(|status| status.is_last())
        .collect();
    assert_eq!(last, [false, false, true, true, true, true]);

    let (cmd, field, reason) = refused(r#"{"cmd":"ACK"}"#);
    assert_eq!(
        (cmd, field, reason),
        ("ACK", "status", CommandFault::Missing)
    );
    for bad in ["\"received\"", "\"OK\"", "7", "{}"] {
        let (_, field, reason) = refused(&format!(r#"{{"cmd":"ACK","status":{bad}}}"#));
        assert_eq!(field, "status");
        assert!(matches!(
            reason,
            CommandFault::Word { .. } | CommandFault::Type { .. }
        ));
    }
    let long = "x".repeat(DETAIL_MAX + 1);
    let error = read(&format!(
        r#"{{"cmd":"ACK","status":"DONE","detail":"{long}"}}"#
    ));
    assert_eq!(
        error.unwrap_err().to_string(),
        r#"the ACK's "detail" cannot be accepted: it has 1025 bytes, over the limit of 1024"#
    );
}

#[test]
fn status() {
    let report = known(r#"{"cmd":"STATUS_REPORT","priority":"high"}"#);
    let priority = Some("high".parse().unwrap());
    assert_eq!(
        report,
        KnownCommand::StatusReport(StatusReport { priority })
    );
    assert_eq!(
        known(r#"{"cmd":"STATUS"}"#),
        KnownCommand::Status(Status::default())
    );
    let full = r#"{"agent":"ponger","capabilities":["a","b c"],"cmd":"STATUS","queue":{"dead":3,"inbox":1,"outbox":2},"tasks":{"submitted":4,"working":5},"uptime_ms":6,"version":"0.1.0"}"#;
    let expected = KnownCommand::Status(Status {
        agent: Some("ponger".parse().unwrap()),
        version: Some("0.1.0".parse().unwrap()),
        uptime_ms: Some(6),
        queue: Some(QueueCounts {
            inbox: 1,
            outbox: 2,
            dead: 3,
        }),
        tasks: Some(TaskCounts {
            submitted: 4,
            working: 5,
        }),
        capabilities: tags(&["a", "b c"]),
    });
    assert_eq!(known(full), expected);
    assert_eq!(expected.body().to_compact(), full);
    for (body, wrong) in [
        (r#"{"cmd":"STATUS","queue":7}"#, "queue"),
        (r#"{"cmd":"STATUS","queue":{"dead":-1}}"#, "queue.dead"),
        (
            r#"{"cmd":"STATUS","tasks":{"working":1.0}}"#,
            "tasks.working",
        ),
        (r#"{"cmd":"STATUS","capabilities":"a"}"#, "capabilities"),
        (r#"{"cmd":"STATUS","capabilities":["a",7]}"#, "capabilities"),
        (r#"{"cmd":"STATUS","capabilities":[""]}"#, "capabilities"),
        (r#"{"cmd":"STATUS_REPORT","priority":1}"#, "priority"),
    ] {
        assert_eq!(refused(body).1, wrong, "{body}");
    }
}

fn endpoints(places: &[(&str, &str)]) -> Endpoints {
    let places = places.iter().map(|(protocol, url)| Endpoint {
        protocol: protocol.parse().unwrap(),
        url: url.parse().unwrap(),
    });
    Endpoints::new(places.collect()).unwrap()
}

#[test]
fn cards() {
    let key = "aa".repeat(32);
    let card = |expires: Timestamp| Announce {
        name: "ponger".parse().unwrap(),
        description: Some("answers".parse().unwrap()),
        capabilities: tags(&["ping"]),
        commands: tags(&["PING"]),
        enc_key: Some(EncryptionKey::from_bytes([0xaa; 32])),
        schemas: Some(Schemas::new(r#"{"PING":{"type":"object"}}"#.parse().unwrap()).unwrap()),
        endpoints: endpoints(&[("a2a", "https://ponger.example/a2a")]),
        expires,
    };
    let body = format!(
        r#"{{"capabilities":["ping"],"cmd":"ANNOUNCE","commands":["PING"],"description":"answers","enc_key":"{key}","endpoints":[{{"protocol":"a2a","url":"https://ponger.example/a2a"}}],"expires":1000,"name":"ponger","schemas":{{"PING":{{"type":"object"}}}}}}"#
    );
    assert_eq!(
        known(&body),
        KnownCommand::Announce(card(Timestamp::new(1000)))
    );
    assert_eq!(
        KnownCommand::Announce(card(Timestamp::new(1000)))
            .body()
            .to_compact(),
        body
    );
    let least = known(r#"{"cmd":"ANNOUNCE","name":"p","expires":1}"#);
    let expected = Announce {
        name: "p".parse().unwrap(),
        description: None,
        capabilities: Tags::default(),
        commands: Tags::default(),
        enc_key: None,
        schemas: None,
        endpoints: Endpoints::default(),
        expires: Timestamp::new(1),
    };
    assert_eq!(least, KnownCommand::Announce(expected));
    let many = format!("[{}\"x\"]", "\"x\",".repeat(TAGS_MAX));
    let one = r#"{"protocol":"a2a","url":"https://h"}"#;
    let too_many = format!("[{}{one}]", format!("{one},").repeat(ENDPOINTS_MAX));
    let too_long = format!("{{\"A\":\"{}\"}}", "x".repeat(SCHEMAS_MAX));
    for (key, value) in [
        ("name", "null"),
        ("name", "\"\""),
        ("name", "\"ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7\""),
        ("name", "\"a b\""),
        ("expires", "null"),
        ("expires", "-1"),
        ("expires", "253402300800000"),
        ("enc_key", "\"aa\""),
        ("capabilities", many.as_str()),
        ("commands", "{}"),
        ("description", "[]"),
        ("endpoints", "{}"),
        ("endpoints", "[\"https://h\"]"),
        ("endpoints", r#"[{"protocol":"a2a"}]"#),
        ("endpoints", r#"[{"protocol":"","url":"https://h"}]"#),
        ("endpoints", r#"[{"protocol":"a2a","url":"h"}]"#),
        (
            "endpoints",
            r#"[{"protocol":"a2a","url":"https://user@h"}]"#,
        ),
        ("endpoints", too_many.as_str()),
        ("schemas", "[]"),
        ("schemas", too_long.as_str()),
    ] {
        let entries = [("name", "\"p\""), ("expires", "1"), ("enc_key", "null")];
        let entries: Vec<String> = entries
            .iter()
            .filter(|(other, _)| *other != key)
            .chain([&(key, value)])
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        let body = format!(r#"{{"cmd":"ANNOUNCE",{}}}"#, entries.join(","));
        let field = refused(&body).1;
        assert_eq!(field.split('.').next(), Some(key), "{body}");
    }

    let now = Timestamp::new(1_795_000_000_000);
    assert_eq!(card(now).check_time(now), Ok(()));
    assert_eq!(card(now.plus_ms(CARD_MAX_AHEAD_MS)).check_time(now), Ok(()));
    assert_eq!(
        card(now.minus_ms(1)).check_time(now),
        Err(CardTimeError::Expired { ago_ms: 1 })
    );
    let ahead_ms = CARD_MAX_AHEAD_MS + 1;
    assert_eq!(
        card(now.plus_ms(ahead_ms)).check_time(now),
        Err(CardTimeError::TooFarAhead { ahead_ms })
    );
}

#[test]
fn jobs() {
    // The form that AITBC's own client sends.
    let body = r#"{"cmd":"EXECUTE_AI_JOB","type":"inference","prompt":"Analyze load"}"#;
    let mut job = ExecuteAiJob {
        kind: "inference".parse().unwrap(),
        prompt: Some("Analyze load".parse().unwrap()),
        model: None,
        params: None,
        deadline: None,
    };
    assert_eq!(known(body), KnownCommand::ExecuteAiJob(job.clone()));
    job.model = Some("llama3.1:8b".parse().unwrap());
    job.params = Some(Params::new(r#"{"t":0.5}"#.parse().unwrap()).unwrap());
    job.deadline = Some(Timestamp::new(9));
    let body = r#"{"cmd":"EXECUTE_AI_JOB","deadline":9,"model":"llama3.1:8b","params":{"t":0.5},"prompt":"Analyze load","type":"inference"}"#;
    assert_eq!(known(body), KnownCommand::ExecuteAiJob(job.clone()));
    assert_eq!(KnownCommand::ExecuteAiJob(job).body().to_compact(), body);

    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(PARAMS_MAX));
    for (field, value) in [
        ("type", "\"\""),
        ("type", "7"),
        ("prompt", "{}"),
        ("model", "\"a\\nb\""),
        ("params", "[]"),
        ("params", deep.as_str()),
        ("params", long.as_str()),
        ("deadline", "\"soon\""),
    ] {
        let first = if field == "type" {
            ""
        } else {
            r#""type":"t","#
        };
        let body = format!(r#"{{"cmd":"EXECUTE_AI_JOB",{first}"{field}":{value}}}"#);
        assert_eq!(refused(&body).1, field, "{field}");
    }
    let (_, field, reason) = refused(r#"{"cmd":"EXECUTE_AI_JOB","prompt":"x"}"#);
    assert_eq!((field, reason), ("type", CommandFault::Missing));
    let twice: Json = r#"{"a":1,"a":1}"#.parse().unwrap();
    assert!(Params::new(twice).is_err());
    let just_deep = format!("{{\"a\":{}{}}}", "[".repeat(63), "]".repeat(63));
    assert!(Params::new(just_deep.parse().unwrap()).is_ok());
    let body = format!(
        r#"{{"cmd":"EXECUTE_AI_JOB","type":"t","prompt":"{}"}}"#,
        "x".repeat(PROMPT_MAX + 1)
    );
    assert_eq!(refused(&body).1, "prompt");
}

#[test]
fn job_ids_are_a_message_s_or_a_transaction_s() {
    assert_eq!(ID.parse(), Ok(JobId::Message(ID.parse().unwrap())));
    assert_eq!(HASH.parse(), Ok(JobId::Transaction(HASH.parse().unwrap())));
    for bad in ["", "0x12", "job-1", &HASH[2..]] {
        assert!(bad.parse::<JobId>().is_err(), "{bad}");
    }
}

#[test]
fn progress_is_a_part_of_the_whole() {
    for (text, part) in [
        ("0", 0.0),
        ("0.5", 0.5),
        ("1", 1.0),
        ("1.0", 1.0),
        ("-0.0", 0.0),
    ] {
        let body = format!(r#"{{"cmd":"JOB_PROGRESS","result_id":"{ID}","progress":{text}}}"#);
        let KnownCommand::JobProgress(progress) = known(&body) else {
            panic!("another command");
        };
        assert_eq!(progress.progress.get().to_bits(), f64::to_bits(part));
    }
    for bad in ["1.1", "-0.1", "2", "\"0.5\"", "null", "1e308"] {
        let body = format!(r#"{{"cmd":"JOB_PROGRESS","result_id":"{ID}","progress":{bad}}}"#);
        assert_eq!(refused(&body).1, "progress", "{bad}");
    }
    for bad in [
        f64::NAN,
        f64::INFINITY,
        -f64::MIN_POSITIVE,
        1.0 + f64::EPSILON,
    ] {
        assert_eq!(Progress::new(bad), None);
    }
}

#[test]
fn a_result_is_truncated_and_length_and_hash_are_of_all_of_it() {
    let whole = JobResult::cut("", 0);
    assert!(whole.is_whole());
    // SHA-256 of the empty text.
    assert_eq!(whole.sha256().to_string(), HASH[2..]);
    let cut = JobResult::cut("aéb", 2);
    assert_eq!((cut.text(), cut.bytes(), cut.is_whole()), ("a", 4, false));
    let long = "x".repeat(RESULT_MAX + 1);
    assert_eq!(JobResult::cut(&long, usize::MAX).text().len(), RESULT_MAX);

    let complete = |result: &str, bytes: &str, sha256: &str| {
        format!(
            r#"{{"cmd":"JOB_COMPLETE","result_id":"{ID}","result":"{result}","result_bytes":{bytes},"result_sha256":"{sha256}"}}"#
        )
    };
    let sha256 = &HASH[2..];
    assert!(read(&complete("", "0", sha256)).is_ok());
    // The beginning of a result that the message does not carry whole.
    assert!(read(&complete("x", "2", sha256)).is_ok());
    assert!(read(&complete("", "1", sha256)).is_ok());
    for (body, field) in [
        (complete("x", "0", sha256), "result_bytes"),
        (complete("x", "1", sha256), "result_sha256"),
        (complete("x", "1", "00"), "result_sha256"),
        (complete("x", "-1", sha256), "result_bytes"),
        (complete("x", "1.5", sha256), "result_bytes"),
        (complete(&long, "999999", sha256), "result"),
        (complete("x", "2", sha256).replace(ID, "job"), "result_id"),
        (
            complete("x", "2", sha256).replace("result_id", "id"),
            "result_id",
        ),
    ] {
        assert_eq!(refused(&body).1, field);
    }
}

#[test]
fn a_failure_has_a_code() {
    let body = format!(
        r#"{{"cmd":"JOB_FAILED","error":{{"code":"timeout","message":"after 60 s"}},"result_id":"{HASH}"}}"#
    );
    let failed = KnownCommand::JobFailed(JobFailed {
        result_id: HASH.parse().unwrap(),
        error: JobError {
            code: "timeout".parse().unwrap(),
            message: Some("after 60 s".parse().unwrap()),
        },
    });
    assert_eq!(known(&body), failed);
    assert_eq!(failed.body().to_compact(), body);
    for (error, field) in [
        ("null", "error"),
        ("\"timeout\"", "error"),
        ("{}", "error.code"),
        (r#"{"code":7}"#, "error.code"),
        (r#"{"code":"x","message":[]}"#, "error.message"),
    ] {
        let body = format!(r#"{{"cmd":"JOB_FAILED","result_id":"{ID}","error":{error}}}"#);
        assert_eq!(refused(&body).1, field);
    }
}

fn tags(tags: &[&str]) -> Tags {
    Tags::new(tags.iter().map(|tag| tag.parse().unwrap()).collect()).unwrap()
}

#[test]
fn a_list_of_tags_is_bounded() {
    let tag: Tag = "x".parse().unwrap();
    assert!(Tags::new(vec![tag.clone(); TAGS_MAX]).is_ok());
    let (found, limit) = (TAGS_MAX + 1, TAGS_MAX);
    assert_eq!(
        Tags::new(vec![tag; found]),
        Err(CommandFault::TooMany { found, limit })
    );
    assert!(tags(&["a", "b"]).contains("b") && !tags(&["a"]).contains("b"));
    assert_eq!(tags(&["b", "a"]).as_slice().len(), 2);
}

fn word() -> impl Strategy<Value = Tag> {
    "[ -~]{1,64}".prop_map(|text| text.parse().unwrap())
}

fn any_tags() -> impl Strategy<Value = Tags> {
    prop::collection::vec(word(), 0..6).prop_map(|tags| Tags::new(tags).unwrap())
}

fn job_id() -> impl Strategy<Value = JobId> {
    prop_oneof![
        (any::<u64>(), any::<[u8; 10]>()).prop_map(|(time, random)| JobId::Message(
            MessageId::new(Timestamp::new(time), random)
        )),
        any::<[u8; 32]>().prop_map(|bytes| JobId::Transaction(TransactionHash::from_bytes(bytes))),
    ]
}

fn detail() -> impl Strategy<Value = Option<agentry_protocol::command::Detail>> {
    prop::option::of(any::<String>().prop_map(|text| text.parse().unwrap()))
}

fn talk() -> impl Strategy<Value = KnownCommand> {
    let status = (
        prop::option::of(word()),
        prop::option::of(word()),
        prop::option::of(any::<u64>()),
        prop::option::of(any::<[u64; 3]>()),
        prop::option::of(any::<[u64; 2]>()),
        any_tags(),
    )
        .prop_map(|(agent, version, uptime_ms, queue, tasks, capabilities)| {
            KnownCommand::Status(Status {
                agent,
                version,
                uptime_ms,
                queue: queue.map(|[inbox, outbox, dead]| QueueCounts {
                    inbox,
                    outbox,
                    dead,
                }),
                tasks: tasks.map(|[submitted, working]| TaskCounts { submitted, working }),
                capabilities,
            })
        });
    prop_oneof![
        Just(KnownCommand::Ping),
        Just(KnownCommand::Pong),
        Just(KnownCommand::Withdraw),
        Just(KnownCommand::CancelJob),
        (0..AckStatus::ALL.len(), detail()).prop_map(|(status, detail)| {
            let status = AckStatus::ALL[status];
            KnownCommand::Ack(Ack { status, detail })
        }),
        prop::option::of(word())
            .prop_map(|priority| KnownCommand::StatusReport(StatusReport { priority })),
        status,
    ]
}

fn card() -> impl Strategy<Value = KnownCommand> {
    (
        "[b-z0-9][A-Za-z0-9._-]{0,63}",
        prop::option::of(any::<String>()),
        any_tags(),
        any_tags(),
        prop::option::of(any::<[u8; 32]>()),
        prop::collection::vec(
            (word(), "https?://[a-z.]{1,9}(:[0-9])?/[!$-;=?-Z]{0,80}"),
            0..9,
        ),
        (0..=Timestamp::MAX_STATED.get()).prop_map(Timestamp::new),
    )
        .prop_map(
            |(name, description, capabilities, commands, key, places, expires)| {
                let entries = commands.as_slice().iter();
                let entries = entries.map(|word| (word.to_string(), Json::string("x")));
                let schemas = Schemas::new(Json::object(entries)).ok();
                let places = places.into_iter().map(|(protocol, url)| Endpoint {
                    protocol,
                    url: url.parse().unwrap(),
                });
                KnownCommand::Announce(Announce {
                    name: name.parse().unwrap(),
                    description: description.map(|text| text.parse().unwrap()),
                    capabilities,
                    commands,
                    schemas,
                    enc_key: key.map(EncryptionKey::from_bytes),
                    endpoints: Endpoints::new(places.collect()).unwrap(),
                    expires,
                })
            },
        )
}

fn job() -> impl Strategy<Value = KnownCommand> {
    let params =
        prop::collection::btree_map(any::<String>(), any::<String>(), 0..4).prop_map(|entries| {
            let entries = entries
                .into_iter()
                .map(|(key, text)| (key, Json::string(text)));
            Params::new(Json::object(entries)).unwrap()
        });
    let ask = (
        word(),
        prop::option::of(any::<String>()),
        prop::option::of("[ -~]{1,256}"),
        prop::option::of(params),
        prop::option::of((0..=Timestamp::MAX_STATED.get()).prop_map(Timestamp::new)),
    )
        .prop_map(|(kind, prompt, model, params, deadline)| {
            KnownCommand::ExecuteAiJob(ExecuteAiJob {
                kind,
                prompt: prompt.map(|text| text.parse().unwrap()),
                model: model.map(|text| text.parse().unwrap()),
                params,
                deadline,
            })
        });
    let progress = (job_id(), 0.0..=1.0, detail()).prop_map(|(result_id, part, note)| {
        KnownCommand::JobProgress(JobProgress {
            result_id,
            progress: Progress::new(part).unwrap(),
            note,
        })
    });
    let complete = (
        job_id(),
        any::<String>(),
        0_usize..40,
        prop::option::of("[ -~]{1,256}"),
        prop::option::of(any::<u64>()),
    )
        .prop_map(|(result_id, whole, limit, media_type, duration_ms)| {
            KnownCommand::JobComplete(JobComplete {
                result_id,
                result: JobResult::cut(&whole, limit),
                media_type: media_type.map(|text| text.parse().unwrap()),
                duration_ms,
                incomplete: None,
            })
        });
    let failed = (job_id(), word(), detail()).prop_map(|(result_id, code, message)| {
        KnownCommand::JobFailed(JobFailed {
            result_id,
            error: JobError { code, message },
        })
    });
    let sealed = (
        any::<[u8; 32]>(),
        prop::collection::vec(any::<u8>(), 16..80),
    )
        .prop_map(|(enc, ct)| KnownCommand::Sealed(Sealed::new(enc, ct).unwrap()));
    prop_oneof![ask, progress, complete, failed, sealed]
}

fn any_command() -> impl Strategy<Value = KnownCommand> {
    prop_oneof![2 => talk(), 1 => card(), 4 => job()]
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(command in any_command()) {
        prop_assert!(KnownCommand::NAMES.contains(&command.name()));
        let sent = compose(&command.to_payload(), None).unwrap();
        let Payload::Command(heard) = Envelope::read(&sent).payload else {
            panic!("no command");
        };
        prop_assert_eq!(&heard.body, &command.body());
        prop_assert_eq!(KnownCommand::read(&heard), Ok(Some(command)));
    }

    /// Any parameter of any command with another value: it is refused by name, or the command reads
    /// back unchanged.
    #[test]
    fn no_parameter_panics(
        command in any_command(), at in any::<prop::sample::Index>(), text in any::<String>(),
        number in any::<i128>(), form in 0..5,
    ) {
        let value = match form {
            0 => Json::null(),
            1 => Json::string(text),
            2 => Json::integer(number),
            3 => Json::array([Json::string(text)]),
            _ => Json::object([("a", Json::integer(number))]),
        };
        let body = command.body();
        let keys: Vec<&str> = body.root().entries().map(|(key, _)| key).collect();
        let changed = *at.get(&keys);
        prop_assume!(changed != "cmd");
        let body = Json::object(body.root().entries().map(|(key, old)| {
            (key, if key == changed { value.clone() } else { old.to_json() })
        }));
        let Payload::Command(heard) = Payload::read(&body) else {
            panic!("no command");
        };
        match KnownCommand::read(&heard) {
            Ok(read) => {
                let read = read.unwrap();
                prop_assert_eq!(read.name(), command.name());
                let again = read.to_payload();
                let Payload::Command(again) = again else { panic!("no command") };
                prop_assert_eq!(KnownCommand::read(&again), Ok(Some(read)));
            }
            Err(error) => {
                prop_assert_eq!(error.cmd, command.name());
                let object = error.field.split('.').next();
                // A changed result no longer matches its length or its hash.
                let of_result = error.field.starts_with("result_") && changed.starts_with("result");
                prop_assert!(object == Some(changed) || of_result, "{}", error);
            }
        }
    }
}

#[test]
fn answers_are_distinguished_from_questions() {
    let names: Vec<&str> = [
        known(r#"{"cmd":"PONG"}"#),
        known(r#"{"cmd":"ACK","status":"DONE"}"#),
        known(r#"{"cmd":"STATUS"}"#),
    ]
    .iter()
    .filter(|command| command.is_answer())
    .map(KnownCommand::name)
    .collect();
    assert_eq!(names, ["PONG", "ACK", "STATUS"]);
    assert!(!known(r#"{"cmd":"PING"}"#).is_answer());
    assert!(!known(r#"{"cmd":"CANCEL_JOB"}"#).is_answer());
}
