//! A coordinator: `coordinator` splits a job among three workers that it finds in the directory,
//! collects the results, and answers with all of them.
//!
//! A complete binary: the command line of `agentry`, with one more kind. In agents.toml:
//!
//! ```toml
//! behaviours = [{ kind = "coordinator", capability = "task:text", job_type = "text" }]
//! ```
//!
//! An agent with the built-in behaviour `tasks` and a type `text` announces the capability
//! `task:text` (`agentry agent register`). That agent must allow this one.
//!
//! It accepts a text whose first line is `work:`, distributes the other lines over three parts, and
//! sends each part as an EXECUTE_AI_JOB to another worker. A worker that fails, refuses, or does
//! not answer in time is replaced by a worker that was not asked yet. A part that no worker does is
//! reported as missing.
//!
//! Each job is one entry of the state, which is deleted with the answer. The answer is sent in a
//! later event than the question, so it is a `send`, not a `reply`: in the question's conversation
//! (its `thread`), and with a reference to the question, so that it is not mistaken for a question.

use std::process::ExitCode;
use std::time::Duration;

use agentry_sdk::protocol::command::{ExecuteAiJob, Tag};
use agentry_sdk::protocol::{Address, KnownCommand, Thread, TransactionHash};
use agentry_sdk::{
    Behaviour, BehaviourError, ConfigureError, Context, DeliveryUpdate, Effects, Message, Outgoing,
    Query, SentMessage, Setup, Timer,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The start of a text with a job.
const WORK: &str = "work:\n";
/// The start of an answer.
const RESULT: &str = "result:\n";
/// The number of parts of a job.
const PARTS: usize = 3;
/// The most workers that are asked for one part.
const MAX_ASKED: usize = 5;
/// The most jobs that are open at the same time. Further jobs are refused.
const MAX_JOBS: usize = 8;
/// The longest job, in bytes: all jobs together fit into the state.
const LONGEST: usize = 20_000;
/// The most bytes of a worker's result that are used.
const LONGEST_RESULT: usize = 20_000;

/// Its keys in agents.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoordinatorSettings {
    /// The capability that a worker's card must list.
    capability: String,
    /// The type of the jobs that workers are sent.
    job_type: String,
    /// The time limit of a worker, in seconds.
    #[serde(default = "a_minute")]
    within_seconds: u64,
}

fn a_minute() -> u64 {
    60
}

#[derive(Debug)]
struct Coordinator {
    capability: String,
    job_type: Tag,
    within: Duration,
}

/// The state entry of a job, with the key `job NUMBER`.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    asker: Address,
    question: TransactionHash,
    thread: Option<Thread>,
    parts: Vec<Part>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Part {
    /// The lines of this part.
    prompt: String,
    /// The workers that were asked, in order. The last one is expected to answer.
    asked: Vec<Address>,
    end: Option<End>,
}

#[derive(Debug, Serialize, Deserialize)]
enum End {
    Done(String),
    Missing(String),
}

/// A part of a job. It is the label of the message to the worker and the name of the timer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    job: u64,
    part: usize,
}

impl Place {
    fn name(self) -> String {
        format!("{}/{}", self.job, self.part)
    }

    fn read(name: &str) -> Option<Self> {
        let (job, part) = name.split_once('/')?;
        Some(Self {
            job: job.parse().ok()?,
            part: part.parse().ok()?,
        })
    }
}

fn key(job: u64) -> String {
    format!("job {job}")
}

/// A job, if it is in the state.
fn recall(job: u64, context: &Context) -> Option<Job> {
    let value = context.state.get(&key(job))?;
    serde_json::from_value(value.clone()).ok()
}

/// Distributes lines over at most [`PARTS`] parts.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![Vec::new(); PARTS];
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    for (number, line) in lines.enumerate() {
        if let Some(part) = parts.get_mut(number % PARTS) {
            part.push(line);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.iter().map(|part| part.join("\n")).collect()
}

impl Coordinator {
    /// Asks the next worker for a part, or reports it as missing if there is none.
    fn ask(
        &self,
        effects: Effects,
        job: &mut Job,
        place: Place,
        why: &str,
        context: &Context,
    ) -> Effects {
        let busy: Vec<Address> = job
            .parts
            .iter()
            .filter(|part| part.end.is_none())
            .filter_map(|part| part.asked.last().cloned())
            .collect();
        let Some(part) = job.parts.get_mut(place.part) else {
            return effects;
        };
        let mut free: Vec<Address> = context
            .find(&Query::capability(&self.capability))
            .into_iter()
            .map(|card| card.address)
            .filter(|worker| *worker != context.address && !part.asked.contains(worker))
            .collect();
        // A worker that is not busy with this job comes first.
        free.sort_by_key(|worker| busy.contains(worker));
        let prompt = part.prompt.parse();
        let (Some(worker), Ok(prompt), true) = (
            free.into_iter().next(),
            prompt,
            part.asked.len() < MAX_ASKED,
        ) else {
            part.end = Some(End::Missing(why.to_owned()));
            return effects.unschedule(place.name());
        };
        part.asked.push(worker.clone());
        let order = KnownCommand::ExecuteAiJob(ExecuteAiJob {
            kind: self.job_type.clone(),
            prompt: Some(prompt),
            model: None,
            params: None,
            deadline: Some(context.now.plus(self.within)),
        });
        let order = Outgoing::command(&order)
            .expiring(self.within)
            .label(place.name());
        effects
            .send_with(worker, order)
            .schedule(place.name(), self.within, ())
    }

    /// Replaces the worker of a part.
    fn replace(&self, place: Place, why: &str, context: &Context) -> Effects {
        let Some(mut job) = recall(place.job, context) else {
            return Effects::none();
        };
        if job
            .parts
            .get(place.part)
            .is_none_or(|part| part.end.is_some())
        {
            return Effects::none();
        }
        let effects = self.ask(Effects::none(), &mut job, place, why, context);
        keep(effects, place.job, &job)
    }
}

/// Stores a job; or, if all parts have ended, answers it and deletes its entry.
fn keep(effects: Effects, number: u64, job: &Job) -> Effects {
    let ends: Vec<&End> = job
        .parts
        .iter()
        .filter_map(|part| part.end.as_ref())
        .collect();
    if ends.len() < job.parts.len() {
        return match serde_json::to_value(job) {
            Ok(value) => effects.set_state(key(number), value),
            Err(_) => effects,
        };
    }
    let lines: Vec<String> = ends
        .iter()
        .enumerate()
        .map(|(part, end)| match end {
            End::Done(result) => result.clone(),
            End::Missing(why) => format!("(part {} is missing: {why})", part + 1),
        })
        .collect();
    let mut whole = Outgoing::text(format!("{RESULT}{}", lines.join("\n"))).answering(job.question);
    whole.thread = job.thread.clone();
    effects
        .clear_state(key(number))
        .send_with(job.asker.clone(), whole)
}

impl Behaviour for Coordinator {
    const KIND: &'static str = "coordinator";
    type Settings = CoordinatorSettings;

    fn configure(settings: CoordinatorSettings, _: &Setup<'_>) -> Result<Self, ConfigureError> {
        let within = Duration::from_secs(settings.within_seconds);
        if within.is_zero() || within > Duration::from_secs(24 * 3600) {
            return Err(ConfigureError(
                "`within_seconds` must be from 1 to 86,400 (a day)".into(),
            ));
        }
        let job_type = settings
            .job_type
            .parse()
            .map_err(|error| ConfigureError(format!("`job_type` is not a valid type: {error}")))?;
        Ok(Self {
            capability: settings.capability,
            job_type,
            within,
        })
    }

    // A question is a text that is not an answer. `on_message` rejects answers to other behaviours.
    fn accepts(&self, message: &Message) -> bool {
        match message.text() {
            Some(text) => !message.is_answer() && text.starts_with(WORK) && text.len() <= LONGEST,
            None => matches!(message.cmd(), Some("JOB_COMPLETE" | "JOB_FAILED")),
        }
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        if let Some(lines) = message.text().and_then(|text| text.strip_prefix(WORK)) {
            return Ok(self.on_question(lines, message, context));
        }
        let label = message
            .answers
            .as_ref()
            .and_then(|asked| asked.label.as_deref());
        let Some(place) = label.and_then(Place::read) else {
            return Ok(Effects::none().reject("it is not an answer to this behaviour"));
        };
        Ok(match message.command() {
            Ok(Some(KnownCommand::JobComplete(complete))) => {
                // Also from a worker that was replaced: the first result counts.
                let Some(mut job) = recall(place.job, context) else {
                    return Ok(Effects::none());
                };
                let Some(part) = job
                    .parts
                    .get_mut(place.part)
                    .filter(|one| one.end.is_none())
                else {
                    return Ok(Effects::none());
                };
                let result = complete.result.text().trim_end();
                let result = result.get(..result.floor_char_boundary(LONGEST_RESULT));
                part.end = Some(End::Done(result.unwrap_or_default().to_owned()));
                let effects = Effects::none().unschedule(place.name());
                keep(effects, place.job, &job)
            }
            Ok(Some(KnownCommand::JobFailed(failed))) => {
                // The failure of a worker that was replaced is ignored.
                if self.is_waited_for(place, &message.from, context) {
                    self.replace(place, failed.error.code.as_str(), context)
                } else {
                    Effects::none()
                }
            }
            Ok(_) | Err(_) => Effects::none().reject("its parameters are invalid"),
        })
    }

    async fn on_timer(&self, timer: &Timer, context: &Context) -> Result<Effects, BehaviourError> {
        Ok(match Place::read(&timer.name) {
            Some(place) => self.replace(place, "no answer in time", context),
            None => Effects::none(),
        })
    }

    async fn on_delivery_update(
        &self,
        sent: &SentMessage,
        update: &DeliveryUpdate,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let why = match update {
            DeliveryUpdate::Rejected { .. } => "refused",
            DeliveryUpdate::Expired => "it expired",
            DeliveryUpdate::Unsent { .. } => "it could not be sent",
            _ => return Ok(Effects::none()),
        };
        Ok(match Place::read(&sent.label) {
            Some(place) if self.is_waited_for(place, &sent.to, context) => {
                self.replace(place, why, context)
            }
            _ => Effects::none(),
        })
    }
}

impl Coordinator {
    fn on_question(&self, lines: &str, message: &Message, context: &Context) -> Effects {
        let open = context
            .state
            .entries()
            .filter(|(key, _)| key.starts_with("job "))
            .count();
        if open >= MAX_JOBS {
            return Effects::none()
                .reject("too many jobs are open")
                .reply("too many jobs are open; try again later");
        }
        let parts: Vec<Part> = split(lines)
            .into_iter()
            .map(|prompt| Part {
                prompt,
                asked: Vec::new(),
                end: None,
            })
            .collect();
        if parts.is_empty() {
            return Effects::none().reject("the job has no lines");
        }
        let number = context
            .state
            .get("jobs")
            .and_then(Value::as_u64)
            .unwrap_or(0)
            + 1;
        let thread = message
            .header
            .as_ref()
            .and_then(|header| header.thread.clone());
        let mut job = Job {
            asker: message.from.clone(),
            question: message.transaction,
            thread,
            parts,
        };
        let mut effects = Effects::none().set_state("jobs", number);
        for part in 0..job.parts.len() {
            let place = Place { job: number, part };
            effects = self.ask(effects, &mut job, place, "no worker is known", context);
        }
        keep(effects, number, &job)
    }

    /// Whether this worker is expected to answer for a part.
    fn is_waited_for(&self, place: Place, worker: &Address, context: &Context) -> bool {
        recall(place.job, context)
            .and_then(|job| Some(job.parts.get(place.part)?.asked.last()? == worker))
            .unwrap_or(false)
    }
}

fn main() -> ExitCode {
    agentry::cli::main_with(agentry::builtins().with::<Coordinator>())
}

#[cfg(test)]
mod tests {
    use agentry_sdk::Card;
    use agentry_sdk::protocol::command::{
        Announce, Endpoints, JobComplete, JobError, JobFailed, JobId, JobResult, Tags,
    };
    use agentry_sdk::protocol::{BlockHeight, TransactionHash};
    use agentry_sdk::testing::{
        Agent, Contract, MessageBuilder, Party, START, Sent, Simulation, assert_behaviour_contract,
        block_on,
    };
    use serde_json::json;

    use super::*;

    /// Adds a worker to the directory, with its answer to each job.
    fn worker(
        chain: &mut Simulation,
        name: &str,
        works: impl FnMut(&Sent) -> Vec<MessageBuilder> + Send + 'static,
    ) -> Party {
        let worker = listed(chain, name);
        chain.script(&worker, works);
        worker
    }

    fn listed(chain: &mut Simulation, name: &str) -> Party {
        let worker = chain.peer(name);
        chain.environment().announce(Card {
            address: worker.address.clone(),
            public_key: worker.public_key,
            card: Announce {
                name: name.parse().unwrap(),
                description: None,
                capabilities: Tags::new(vec!["shout".parse().unwrap()]).unwrap(),
                commands: Tags::default(),
                enc_key: None,
                schemas: None,
                endpoints: Endpoints::default(),
                expires: START.plus_ms(24 * 3_600_000),
            },
            transaction: TransactionHash::of(name.as_bytes()),
            height: BlockHeight(0),
        });
        worker
    }

    fn job(sent: &Sent) -> (JobId, String) {
        let Ok(Some(KnownCommand::ExecuteAiJob(job))) = sent.command() else {
            panic!("no job: {sent:?}");
        };
        let id = sent.header.as_ref().unwrap().id.unwrap();
        (JobId::Message(id), job.prompt.unwrap().as_str().to_owned())
    }

    /// Does the job: returns the text in capitals.
    fn diligent(sent: &Sent) -> Vec<MessageBuilder> {
        let (result_id, prompt) = job(sent);
        let complete = KnownCommand::JobComplete(JobComplete {
            result_id,
            result: JobResult::cut(&prompt.to_uppercase(), 1_000),
            media_type: None,
            duration_ms: None,
            incomplete: None,
        });
        vec![MessageBuilder::command(&complete).answering(sent.transaction)]
    }

    fn broken(sent: &Sent) -> Vec<MessageBuilder> {
        let failed = KnownCommand::JobFailed(JobFailed {
            result_id: job(sent).0,
            error: JobError {
                code: "broken".parse().unwrap(),
                message: None,
            },
        });
        vec![MessageBuilder::command(&failed).answering(sent.transaction)]
    }

    fn silent(_: &Sent) -> Vec<MessageBuilder> {
        Vec::new()
    }

    fn settings() -> Value {
        json!({ "capability": "shout", "job_type": "text" })
    }

    fn coordinator(chain: &mut Simulation) -> Party {
        chain.host(Agent::named("chief").with::<Coordinator>(settings()))
    }

    fn answer(chain: &Simulation, to: &Party) -> String {
        let sent = chain.sent_to(to);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent[0].text().unwrap().to_owned()
    }

    #[test]
    fn three_workers_do_a_third_each() {
        block_on(async {
            let mut chain = Simulation::new(1);
            let workers = ["one", "two", "three"].map(|name| worker(&mut chain, name, diligent));
            let chief = coordinator(&mut chain);
            let alice = chain.peer("alice");
            let thread: Thread = "letters".parse().unwrap();
            let question = alice.text("work:\na\nb\nc\nd\n\ne").thread(thread.clone());
            chain.deliver(question).await;

            for worker in &workers {
                assert_eq!(chain.sent_to(worker).len(), 1);
            }
            assert_eq!(answer(&chain, &alice), "result:\nA\nD\nB\nE\nC");
            let sent = &chain.sent_to(&alice)[0];
            assert_eq!(sent.thread, Some(thread));
            assert!(sent.re.is_some(), "it refers to its question");
            // Only the number of jobs is left in the state.
            let state = chain.state(&chief, "coordinator");
            assert_eq!(state.entries().count(), 1);
            assert!(chain.timers(&chief, "coordinator").is_empty());
        });
    }

    #[test]
    fn failing_and_silent_workers_are_replaced() {
        block_on(async {
            let mut chain = Simulation::new(1);
            worker(&mut chain, "a-broken", broken);
            worker(&mut chain, "b-silent", silent);
            worker(&mut chain, "c-good", diligent);
            coordinator(&mut chain);
            let alice = chain.peer("alice");
            chain.deliver(alice.text("work:\nx\ny\nz")).await;
            assert!(chain.sent_to(&alice).is_empty());
            chain.restart();
            chain.advance(Duration::from_secs(130)).await;
            assert_eq!(answer(&chain, &alice), "result:\nX\nY\nZ");
        });
    }

    #[test]
    fn a_part_that_no_worker_does_is_reported() {
        block_on(async {
            let mut chain = Simulation::new(1);
            worker(&mut chain, "a-broken", broken);
            worker(&mut chain, "b-silent", silent);
            coordinator(&mut chain);
            let alice = chain.peer("alice");
            chain.deliver(alice.text("work:\nx")).await;
            chain.advance(Duration::from_secs(60)).await;
            assert_eq!(
                answer(&chain, &alice),
                "result:\n(part 1 is missing: no answer in time)"
            );
        });
    }

    #[test]
    fn missing_workers_are_reported_at_once() {
        block_on(async {
            let mut chain = Simulation::new(1);
            coordinator(&mut chain);
            let alice = chain.peer("alice");
            chain.deliver(alice.text("work:\nx")).await;
            assert_eq!(
                answer(&chain, &alice),
                "result:\n(part 1 is missing: no worker is known)"
            );
        });
    }

    #[test]
    fn a_late_answer_counts_if_it_is_the_first() {
        block_on(async {
            let mut chain = Simulation::new(1);
            let late = worker(&mut chain, "a-late", silent);
            let silent = worker(&mut chain, "b-silent", silent);
            coordinator(&mut chain);
            let alice = chain.peer("alice");
            chain.deliver(alice.text("work:\nx")).await;
            chain.advance(Duration::from_secs(61)).await;
            assert_eq!(chain.sent_to(&silent).len(), 1);
            let order = chain.sent_to(&late)[0].clone();
            for word in diligent(&order) {
                chain.deliver(word.from(&late)).await;
            }
            assert_eq!(answer(&chain, &alice), "result:\nX");
            chain.advance(Duration::from_secs(600)).await;
            assert_eq!(chain.sent_to(&alice).len(), 1);
        });
    }

    #[test]
    fn others_cannot_answer_for_a_worker() {
        block_on(async {
            let mut chain = Simulation::new(1);
            let silent = worker(&mut chain, "silent", silent);
            coordinator(&mut chain);
            let alice = chain.peer("alice");
            let mallory = chain.peer("mallory");
            chain.deliver(alice.text("work:\nx")).await;
            let order = chain.sent_to(&silent)[0].clone();
            for word in diligent(&order) {
                chain.deliver(word.from(&mallory)).await;
            }
            assert!(chain.sent_to(&alice).is_empty());
            assert_eq!(chain.dropped().len(), 1);
        });
    }

    #[test]
    fn a_job_beyond_the_limit_is_refused() {
        block_on(async {
            let mut chain = Simulation::new(1);
            worker(&mut chain, "silent", silent);
            coordinator(&mut chain);
            let alice = chain.peer("alice");
            for _ in 0..=MAX_JOBS {
                chain.deliver(alice.text("work:\nx")).await;
            }
            assert!(answer(&chain, &alice).contains("too many jobs are open"));
        });
    }

    #[test]
    fn it_keeps_the_contract() {
        block_on(assert_behaviour_contract(
            Contract::of::<Coordinator>()
                .settings(settings())
                .samples([
                    MessageBuilder::text("work:\na\nb\nc"),
                    MessageBuilder::text("work:\none"),
                ])
                .prepare(|chain| {
                    worker(chain, "diligent", diligent);
                    worker(chain, "broken", broken);
                    // Peers of the contract test, which answer at random.
                    listed(chain, "ann");
                    listed(chain, "ben");
                }),
        ));
    }
}
