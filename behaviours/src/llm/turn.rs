//! How a message is answered, step by step. Each step is a task; the handlers decide what comes next.
//!
//! | kind of task | what it does |
//! |---|---|
//! | `model` | has the model go on with the conversation |
//! | `summary` | has the model sum up what is to be forgotten |
//! | `wait` | waits: for the message before, or for the answer of another agent |
//! | `tool:NAME` | runs a tool |

use std::time::Duration;

use agentry_sdk::protocol::command::{ExecuteAiJob, Tag};
use agentry_sdk::protocol::{Address, Authenticity, KnownCommand};
use agentry_sdk::task::Ask;
use agentry_sdk::{
    Context, Desk, Effects, Message, Outgoing, Query, Sealing, Task, TaskError, TaskNews,
    TaskOutput, TaskReport, TaskStart,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::memory::{self, MAX_TEXT, Running, TODAY, Thread, Today, Turn, Waiting};
use super::settings::Definition;
use super::words::{LAST, RULES, SUMMARY, cut, marked, no_answer};
use super::{Llm, tools};
use crate::executors::http::{Call, Conversation, Whole};

const MODEL: &str = "model";
const SUM_UP: &str = "summary";
const WAIT: &str = "wait";
const TOOL: &str = "tool:";

/// The prefix of the labels of tasks that were given to other agents. The key of the task that waits
/// for the answer follows.
const LABEL: &str = "llm/";

/// The most calls of tools that the model may request at once.
const MAX_CALLS: usize = 8;

/// How long a message waits for those before it: as long as a task can.
const TURN_WAIT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The longest reply, in bytes.
const MAX_REPLY: usize = 32 << 10;

/// How many agents are shown to the model.
const MAX_FOUND: usize = 20;

/// What a task is about.
#[derive(Serialize, Deserialize)]
struct Input {
    /// The state entry of the conversation.
    thread: String,
    /// What the model is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chat: Option<Conversation>,
    /// The tools that the model may use, too, once their MCP servers have described them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    described: Vec<String>,
    /// How long to wait, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    within_s: Option<u64>,
    /// What the tool's executor gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<Value>,
}

/// The work of a task.
pub(super) enum Work {
    Wait {
        within: Duration,
    },
    /// With the tools that MCP servers have to describe first.
    Model(Conversation, Vec<String>),
    Tool {
        name: String,
        job: Box<Task>,
    },
}

impl Work {
    pub(super) fn of(task: &Task) -> Result<Self, TaskError> {
        let input = Input::deserialize(&task.input);
        let input = input.map_err(|error| TaskError::permanent("bad-input", error.to_string()))?;
        if let Some(name) = tool_of(&task.kind) {
            let job = Box::new(Task {
                kind: name.to_owned(),
                input: input.job.unwrap_or_default(),
                ..task.clone()
            });
            let name = name.to_owned();
            return Ok(Self::Tool { name, job });
        }
        Ok(match input.chat {
            Some(chat) => Self::Model(chat, input.described),
            None => Self::Wait {
                within: Duration::from_secs(input.within_s.unwrap_or_default()),
            },
        })
    }
}

/// The tool that tasks of a kind run.
pub(super) fn tool_of(kind: &str) -> Option<&str> {
    kind.strip_prefix(TOOL)
}

/// Whether tasks are of this kind.
pub(super) fn is_kind(kind: &str, is_tool: impl Fn(&str) -> bool) -> bool {
    matches!(kind, MODEL | SUM_UP | WAIT) || tool_of(kind).is_some_and(is_tool)
}

/// Whether a label is that of a task that was given to another agent.
pub(super) fn is_task(label: &str) -> bool {
    label.starts_with(LABEL)
}

/// Waits until a handler answers. Nothing runs meanwhile.
pub(super) async fn wait(desk: &Desk, within: Duration) -> Result<TaskOutput, TaskError> {
    let answer = desk.ask(Ask::new("waiting").within(within)).await;
    Ok(TaskOutput::text(answer.as_str().unwrap_or_default()))
}

/// What the model has said, as the result of its task.
#[derive(Serialize, Deserialize)]
struct Said {
    content: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    calls: Vec<Call>,
}

pub(super) fn output(answer: Whole) -> TaskOutput {
    let said = Said {
        content: answer.text,
        calls: answer.calls,
    };
    TaskOutput::text(json!(said).to_string())
}

/// A call of a tool that has been looked at.
enum Made {
    /// It has this result.
    Result(String),
    /// It has begun.
    Begun,
    /// The reply, which ends the work on the message.
    Reply(String),
}

/// A run for an event of one conversation.
pub(super) struct Run<'a> {
    llm: &'a Llm,
    context: &'a Context,
    /// The state entry of the conversation.
    name: String,
    thread: Thread,
    today: Today,
    effects: Effects,
}

impl<'a> Run<'a> {
    fn new(llm: &'a Llm, name: String, thread: Thread, context: &'a Context) -> Self {
        Self {
            llm,
            name,
            thread,
            today: Today::of(context),
            context,
            effects: Effects::none(),
        }
    }

    /// A message has arrived.
    pub(super) fn arrive(
        llm: &'a Llm,
        message: &Message,
        text: &str,
        is_trusted: bool,
        context: &'a Context,
    ) -> Effects {
        let name = memory::name_of(message);
        let sender = memory::payer(message);
        let known = memory::thread(&context.state, &name);
        let is_new = known.is_none();
        let thread =
            known.unwrap_or_else(|| Thread::new(sender.clone(), message.sealed, context.now));
        let mut run = Self::new(llm, name, thread, context);
        if !run.today.has_room(&sender, is_trusted) {
            return run.effects.reply(no_answer("too many have asked today"));
        }
        if is_new && !run.make_room() {
            return run
                .effects
                .reply(no_answer("too many conversations are under way"));
        }
        let hash = message.transaction.to_string();
        let text = said_by(message, &marked(&hash, &cut(text, MAX_TEXT)));
        if run.thread.turn.is_none() && run.thread.waiting.is_empty() {
            run.thread.begin(hash, &text, is_trusted, context.now);
            run.start();
            return run.end();
        }
        let waiting = Waiting {
            message: hash.clone(),
            text,
            is_trusted,
            is_asked: false,
        };
        if !run.thread.wait(waiting, context.now) {
            let reason = "others of your messages in this conversation wait already";
            return run.effects.reply(no_answer(reason));
        }
        run.begin(wait_key(&hash), WAIT, |input| {
            input.within_s = Some(TURN_WAIT.as_secs());
        });
        run.end()
    }

    /// Forgets a conversation if there are too many. Returns whether there is room.
    fn make_room(&mut self) -> bool {
        let entries = self.context.state.entries();
        let threads = entries.filter(|(name, _)| memory::is_thread(name)).count();
        if threads < self.llm.memory.threads {
            return true;
        }
        let named = self.llm.allow.named();
        let is_trusted = |sender: &str| named.iter().any(|name| name == sender);
        let Some(name) = memory::to_forget(&self.context.state, is_trusted) else {
            return false;
        };
        self.add(|effects| effects.clear_state(name));
        true
    }

    /// There is news of a task.
    pub(super) fn go_on(llm: &'a Llm, report: &TaskReport, context: &'a Context) -> Effects {
        let task = &report.task;
        let Ok(input) = Input::deserialize(&task.input) else {
            return Effects::none();
        };
        let Some(thread) = memory::thread(&context.state, &input.thread) else {
            return Effects::none();
        };
        let mut run = Self::new(llm, input.thread, thread, context);
        let used = task.tokens.input.saturating_add(task.tokens.output);
        let (output, failure) = match &report.news {
            TaskNews::Progress { .. } => return Effects::none(),
            TaskNews::InputRequired { .. } => {
                run.asked(&task.key);
                return run.end();
            }
            TaskNews::Completed { output, .. } => (output.text.as_str(), None),
            TaskNews::Failed { message, .. } => ("", Some(message.as_str())),
            TaskNews::Canceled => ("", Some("it was canceled")),
        };
        run.spend(used);
        if run.has_waited(&task.key, failure) {
            return run.end();
        }
        match Step::of(&run.thread, &task.key) {
            Some(Step::Model) if task.kind == SUM_UP => run.summed_up(output, failure),
            Some(Step::Model) => run.said(output, failure),
            Some(Step::Tool(at)) => {
                let is_trusted = match tool_of(&task.kind) {
                    Some(name) => llm.tools.get(name).is_some_and(|tool| tool.is_trusted),
                    // Whether the agent is trusted was noted when its answer came.
                    None => true,
                };
                run.result(at, output, failure, is_trusted);
            }
            // It is of a message that is not being answered any more.
            None => {}
        }
        run.end()
    }

    /// Another agent has answered.
    pub(super) fn answered(
        llm: &'a Llm,
        label: &str,
        answer: &str,
        is_trusted: bool,
        context: &'a Context,
    ) -> Effects {
        let key = label.strip_prefix(LABEL).unwrap_or_default();
        let entries = context.state.entries();
        let names = entries.filter(|(name, _)| memory::is_thread(name));
        let mut found = names.filter_map(|(name, _)| {
            let thread = memory::thread(&context.state, name)?;
            let Some(Step::Tool(at)) = Step::of(&thread, key) else {
                return None;
            };
            Some((name.to_owned(), thread, at))
        });
        let Some((name, mut thread, at)) = found.next() else {
            return Effects::none();
        };
        thread.is_tainted |= !is_trusted;
        let mut run = Self::new(llm, name, thread, context);
        let answer = cut(answer, MAX_TEXT);
        if let Some(call) = run.call_at(at) {
            let is_asked = call.is_asked;
            if is_asked {
                run.release(key, answer);
            } else {
                // The task has not begun to wait.
                call.result = Some(answer);
            }
        }
        run.end()
    }

    /// A task waits now.
    fn asked(&mut self, key: &str) {
        if let Some(waiting) = self
            .thread
            .waiting
            .iter_mut()
            .find(|waiting| wait_key(&waiting.message) == key)
        {
            waiting.is_asked = true;
            self.wake();
            return;
        }
        if let Some(Step::Tool(at)) = Step::of(&self.thread, key)
            && let Some(call) = self.call_at(at)
        {
            call.is_asked = true;
            if let Some(answer) = call.result.take() {
                self.release(key, answer);
            }
        }
    }

    /// Has a task that waits end.
    fn release(&mut self, key: &str, answer: String) {
        self.add(|effects| effects.answer_task(key, 1, answer));
    }

    /// Has the next message that waits take its turn.
    fn wake(&mut self) {
        if self.thread.turn.is_none()
            && let Some(next) = self.thread.waiting.front().filter(|next| next.is_asked)
        {
            let key = wait_key(&next.message);
            self.release(&key, String::new());
        }
    }

    /// The wait of a message has ended: it has its turn, or was canceled. Returns whether the task is
    /// one.
    fn has_waited(&mut self, key: &str, failure: Option<&str>) -> bool {
        let mut waiting = self.thread.waiting.iter();
        let Some(at) = waiting.position(|one| wait_key(&one.message) == key) else {
            return false;
        };
        match failure {
            Some(reason) => {
                self.thread.waiting.remove(at);
                self.add(|effects| effects.reply(no_answer(reason)));
                self.wake();
            }
            None => {
                if let Some(next) = self.thread.waiting.remove(at) {
                    let now = self.context.now;
                    self.thread
                        .begin(next.message, &next.text, next.is_trusted, now);
                    self.start();
                }
            }
        }
        true
    }

    /// Begins to answer.
    fn start(&mut self) {
        if self.thread.is_full(&self.llm.memory) {
            let count = self.thread.to_forget(&self.llm.memory);
            if count > 0 && self.llm.memory.summary {
                return self.sum_up(count);
            }
            self.thread.forget(count, None);
        }
        self.step();
    }

    /// Has the model sum up what is to be forgotten.
    fn sum_up(&mut self, count: usize) {
        let Some(turn) = &self.thread.turn else {
            return;
        };
        let key = format!("{}/{}", turn.message, turn.steps);
        let transcript = self.thread.transcript(count);
        let messages = vec![
            json!({ "role": "system", "content": SUMMARY }),
            json!({ "role": "user", "content": marked(&turn.message, &transcript) }),
        ];
        let chat = Conversation {
            messages,
            tools: Vec::new(),
        };
        if let Err(reason) = self.check_budget(&chat) {
            return self.fail(reason);
        }
        self.begin(key, SUM_UP, |input| input.chat = Some(chat));
    }

    fn summed_up(&mut self, output: &str, failure: Option<&str>) {
        let summary = read(output).content;
        let count = self.thread.to_forget(&self.llm.memory);
        // Without a summary, the conversation goes on.
        let summary = Some(summary.trim()).filter(|text| failure.is_none() && !text.is_empty());
        self.thread.forget(count, summary);
        self.step();
    }

    /// Has the model go on.
    fn step(&mut self) {
        let limits = &self.llm.limits;
        let Some(turn) = &self.thread.turn else {
            return;
        };
        if turn.steps >= limits.steps {
            return self.fail("it takes more steps than are allowed");
        }
        let is_last = turn.steps + 1 == limits.steps;
        let (tools, described) = match is_last {
            true => (Vec::new(), Vec::new()),
            false => self.offered(),
        };
        let chat = Conversation {
            messages: self.thread.prompt(&self.system(is_last)),
            tools,
        };
        if let Err(reason) = self.check_budget(&chat) {
            return self.fail(reason);
        }
        let Some(turn) = &mut self.thread.turn else {
            return;
        };
        turn.steps += 1;
        let key = format!("{}/{}", turn.message, turn.steps);
        self.begin(key, MODEL, |input| {
            input.chat = Some(chat);
            input.described = described;
        });
    }

    /// The system message: the rules, who the agent is, and what the operator says.
    fn system(&self, is_last: bool) -> String {
        let Context { agent, address, .. } = self.context;
        let mut text = format!("{RULES}\n\nYou are {agent}; your address is {address}.");
        for more in [self.llm.http.system(), is_last.then_some(LAST)]
            .into_iter()
            .flatten()
        {
            text.push_str("\n\n");
            text.push_str(more);
        }
        text
    }

    /// The tools that the model may use now: their definitions, and the names of those that their MCP
    /// servers have to describe.
    fn offered(&self) -> (Vec<Value>, Vec<String>) {
        let is_confined = self.thread.is_confined();
        let mut offered = vec![tools::reply()];
        if !is_confined {
            offered.extend(tools::of_trusted());
            if !self.llm.recipients.is_empty() {
                offered.extend(tools::of_senders());
            }
        }
        let mut described = Vec::new();
        for (name, tool) in &self.llm.tools {
            match &tool.definition {
                _ if is_confined && !tool.is_public => {}
                Definition::Given(definition) => offered.push(definition.clone()),
                Definition::OfServer { .. } => described.push(name.clone()),
            }
        }
        (offered, described)
    }

    /// Checks that the tokens of a call are within every limit.
    fn check_budget(&self, chat: &Conversation) -> Result<(), &'static str> {
        let limits = &self.llm.limits;
        let most = self.llm.http.most_tokens(chat);
        let turn = self.thread.turn.as_ref().map_or(0, |turn| turn.tokens);
        let thread = self.thread.tokens_on(self.context.now.day());
        let sender = self.today.spent(&self.thread.sender).tokens;
        let is_over = |used: u64, limit| used.saturating_add(most) > limit;
        if is_over(turn, limits.message_tokens) {
            return Err("it takes more of the model than is allowed for a message");
        }
        if is_over(thread, limits.thread_tokens) {
            return Err("this conversation has used what it may use today");
        }
        if is_over(sender, limits.sender_tokens) {
            return Err("you have used what you may use today");
        }
        Ok(())
    }

    fn spend(&mut self, tokens: u64) {
        if tokens > 0 {
            self.thread.spend(self.context.now.day(), tokens);
            self.today.spend(&self.thread.sender, tokens, 0);
        }
    }

    /// The model has answered, or failed.
    fn said(&mut self, output: &str, failure: Option<&str>) {
        if let Some(reason) = failure {
            return self.fail(reason);
        }
        let Said { content, mut calls } = read(output);
        for call in &mut calls {
            call.function.arguments = cut(&call.function.arguments, MAX_TEXT);
            call.function.name = cut(&call.function.name, 64);
            call.id = cut(&call.id, 64);
        }
        calls.truncate(MAX_CALLS);
        self.thread.said(&content, &calls);
        if calls.is_empty() {
            return match content.trim() {
                "" => self.fail("the model gave no answer"),
                text => self.reply(text),
            };
        }
        let Some(turn) = &mut self.thread.turn else {
            return;
        };
        turn.calls = calls
            .iter()
            .map(|call| Running {
                id: call.id.clone(),
                result: None,
                is_asked: false,
            })
            .collect();
        let (mut reply, mut is_new) = (None, false);
        for (at, call) in calls.iter().enumerate() {
            let (made, repeats) = self.call(at, call);
            is_new |= !repeats;
            match made {
                Made::Begun => {}
                Made::Result(text) => self.set_result(at, &text),
                Made::Reply(text) => reply = Some(text),
            }
        }
        match reply {
            Some(text) => self.reply(&text),
            None if !is_new => self.fail("the model repeats itself"),
            None => self.go_on_if_all_are_there(),
        }
    }

    /// Makes a call of a tool, if the model may. Returns whether it repeats one.
    fn call(&mut self, at: usize, call: &Call) -> (Made, bool) {
        let name = call.function.name.as_str();
        let made = (name.to_owned(), call.function.arguments.clone());
        let Some(turn) = &mut self.thread.turn else {
            return (Made::Result(String::new()), true);
        };
        if turn.made.contains(&made) {
            let text = "you have made this call before, and know its result";
            return (Made::Result(text.to_owned()), true);
        }
        turn.made.push(made);
        let arguments = serde_json::from_str::<Map<String, Value>>(&call.function.arguments);
        let done = match arguments {
            Ok(arguments) => self.run(at, name, &arguments, &call.function.arguments),
            Err(error) => Err(format!("the arguments are not a JSON object: {error}")),
        };
        (done.unwrap_or_else(Made::Result), false)
    }

    /// Runs a tool. The error is for the model.
    fn run(
        &mut self,
        at: usize,
        name: &str,
        arguments: &Map<String, Value>,
        text: &str,
    ) -> Result<Made, String> {
        let part = |key: &str| {
            let part = arguments.get(key).and_then(Value::as_str);
            part.map(str::trim).filter(|part| !part.is_empty())
        };
        let needed = |key: &str| part(key).ok_or_else(|| format!("{key:?} is missing"));
        if name == tools::REPLY {
            return Ok(Made::Reply(needed("text")?.to_owned()));
        }
        let is_confined = self.thread.is_confined();
        if let Some(tool) = self.llm.tools.get(name) {
            if is_confined && !tool.is_public {
                return Err(refused());
            }
            let prompt = part("input").unwrap_or(text);
            let job = json!({ "prompt": prompt, "params": arguments });
            let key = self.tool_key(at);
            self.begin(key, &format!("{TOOL}{name}"), |input| input.job = Some(job));
            return Ok(Made::Begun);
        }
        if !tools::BUILT_IN.contains(&name) {
            return Err(format!("there is no tool {name:?}"));
        }
        if is_confined {
            return Err(refused());
        }
        match name {
            tools::FIND_AGENTS => Ok(Made::Result(self.find(
                part("name"),
                part("capability"),
                part("command"),
            ))),
            tools::REMEMBER => {
                let text = arguments.get("text").and_then(Value::as_str);
                self.thread.note(needed("key")?, text.unwrap_or_default())?;
                Ok(Made::Result("noted".to_owned()))
            }
            tools::SEND => {
                let to = self.recipient(needed("to")?)?;
                let outgoing = Outgoing::text(cut(needed("text")?, MAX_REPLY));
                self.send(to, outgoing)?;
                Ok(Made::Result("it will be sent".to_owned()))
            }
            _ => {
                let to = self.recipient(needed("to")?)?;
                let kind: Tag = needed("type")?
                    .parse()
                    .map_err(|error| format!("type: {error}"))?;
                let prompt = needed("prompt")?.parse();
                let job = KnownCommand::ExecuteAiJob(ExecuteAiJob {
                    kind,
                    prompt: Some(prompt.map_err(|error| format!("prompt: {error}"))?),
                    model: None,
                    params: None,
                    deadline: Some(self.context.now.plus(self.llm.limits.task_time.0)),
                });
                let key = self.tool_key(at);
                let label = format!("{LABEL}{key}");
                self.send(to, Outgoing::command(&job).label(label))?;
                let within = self.llm.limits.task_time.0.as_secs();
                self.begin(key, WAIT, |input| input.within_s = Some(within));
                Ok(Made::Begun)
            }
        }
    }

    /// The address of an agent that the model names, if it may send to it. The error is for the model.
    fn recipient(&self, to: &str) -> Result<Address, String> {
        let address = match to.starts_with("ait1") {
            true => to.parse::<Address>().map_err(|error| error.to_string())?,
            false => self
                .context
                .resolve(to)
                .map_err(|error| error.to_string())?,
        };
        let recipients = &self.llm.recipients;
        match recipients.has(self.context, |known| *known == address) {
            true => Ok(address),
            false => Err(format!("this agent must not send to {to}")),
        }
    }

    /// Sends something, if the limits allow it. It is sealed if it can be; what somebody has sealed is
    /// told to nobody else in the clear.
    fn send(&mut self, to: Address, outgoing: Outgoing) -> Result<(), String> {
        let limits = &self.llm.limits;
        let card = self.context.find(&Query::address(to.clone()));
        let has_key = card.iter().any(|card| card.card.enc_key.is_some());
        if self.thread.is_sealed && !has_key {
            return Err("messages to this agent cannot be sealed".to_owned());
        }
        let sealing = match self.thread.is_sealed {
            true => Sealing::Always,
            false => Sealing::IfPossible,
        };
        let today = self.today.spent(&self.thread.sender).sends;
        let Some(turn) = &mut self.thread.turn else {
            return Err(refused());
        };
        if turn.sends >= limits.sends {
            return Err(format!(
                "at most {} messages are sent for one",
                limits.sends
            ));
        }
        if today >= limits.sender_sends {
            return Err("no more messages are sent for this sender today".to_owned());
        }
        turn.sends += 1;
        self.today.spend(&self.thread.sender, 0, 1);
        self.add(|effects| effects.send_with(to, outgoing.sealing(sealing)));
        Ok(())
    }

    /// The agents that match, for the model: what they say of themselves in their own words is left out.
    fn find(&self, name: Option<&str>, capability: Option<&str>, command: Option<&str>) -> String {
        let list = |word: Option<&str>| word.map(ToOwned::to_owned).into_iter().collect();
        let query = Query {
            name: name.map(ToOwned::to_owned),
            capabilities: list(capability),
            commands: list(command),
            limit: MAX_FOUND,
            ..Query::default()
        };
        let found = self.context.find(&query);
        let found = found.iter().map(|card| {
            let tags = |tags: &agentry_sdk::protocol::command::Tags| {
                let tags = tags.as_slice().iter();
                tags.map(ToString::to_string).collect::<Vec<_>>()
            };
            json!({
                "address": card.address.as_str(),
                "name": card.card.name.as_str(),
                "capabilities": tags(&card.card.capabilities),
                "commands": tags(&card.card.commands),
            })
        });
        Value::Array(found.collect()).to_string()
    }

    /// The result of a tool has come, or it failed.
    fn result(&mut self, at: usize, output: &str, failure: Option<&str>, is_trusted: bool) {
        let text = match failure {
            Some(reason) => format!("it failed: {reason}"),
            None => {
                self.thread.is_tainted |= !is_trusted;
                output.to_owned()
            }
        };
        self.set_result(at, &text);
        self.go_on_if_all_are_there();
    }

    fn set_result(&mut self, at: usize, text: &str) {
        if let Some(call) = self.call_at(at) {
            call.result = Some(cut(text, MAX_TEXT));
        }
    }

    fn go_on_if_all_are_there(&mut self) {
        if self.thread.take_results() {
            self.step();
        }
    }

    fn call_at(&mut self, at: usize) -> Option<&mut Running> {
        self.thread.turn.as_mut()?.calls.get_mut(at)
    }

    /// Answers the message.
    fn reply(&mut self, text: &str) {
        self.add(|effects| effects.reply(cut(text, MAX_REPLY)));
        self.end_turn();
    }

    /// Says that there is no answer, and leaves a dead letter.
    fn fail(&mut self, reason: &str) {
        let message = self.thread.turn.as_ref().map(|turn| turn.message.clone());
        let name = format!("failed/{}", message.unwrap_or_default());
        let told = format!("the message was not answered: {reason}");
        self.add(|effects| {
            effects
                .reply(no_answer(reason))
                .schedule(name, Duration::ZERO, told)
        });
        self.end_turn();
    }

    fn end_turn(&mut self) {
        if let Some(turn) = &mut self.thread.turn {
            // A call without a result cannot stand in a conversation.
            for call in &mut turn.calls {
                call.result
                    .get_or_insert_with(|| "not waited for".to_owned());
            }
            self.thread.take_results();
        }
        self.thread.turn = None;
        self.wake();
    }

    fn tool_key(&self, at: usize) -> String {
        let turn = self.thread.turn.as_ref();
        let (message, steps) = turn.map_or(("", 0), |turn| (turn.message.as_str(), turn.steps));
        format!("{message}/{steps}/{at}")
    }

    /// Begins a task.
    fn begin(&mut self, key: String, kind: &str, set: impl FnOnce(&mut Input)) {
        let mut input = Input {
            thread: self.name.clone(),
            chat: None,
            described: Vec::new(),
            within_s: None,
            job: None,
        };
        set(&mut input);
        let task = TaskStart {
            key,
            kind: kind.to_owned(),
            input: json!(input),
            deadline: None,
        };
        self.add(|effects| effects.start_task(task));
    }

    /// Adds effects.
    fn add(&mut self, add: impl FnOnce(Effects) -> Effects) {
        self.effects = add(std::mem::take(&mut self.effects));
    }

    /// The effects, with what is remembered now.
    fn end(self) -> Effects {
        self.effects
            .set_state(self.name, self.thread.to_value())
            .set_state(TODAY, json!(self.today))
    }
}

/// What somebody says, with who that is. An address that is not checked can be anything.
fn said_by(message: &Message, marked: &str) -> String {
    match message.authenticity {
        Authenticity::Verified => {
            let standing = message.standing.as_str();
            format!("{} ({standing}) says:\n{marked}", message.from)
        }
        Authenticity::Unverified | Authenticity::Forged => {
            format!("Somebody whose signature cannot be checked says:\n{marked}")
        }
    }
}

fn refused() -> String {
    "this is not allowed here: answer with a text".to_owned()
}

/// The key of the task with which a message waits for its turn.
fn wait_key(message: &str) -> String {
    format!("{message}/{WAIT}")
}

fn read(output: &str) -> Said {
    serde_json::from_str(output).unwrap_or_else(|_| Said {
        content: output.to_owned(),
        calls: Vec::new(),
    })
}

/// What a task of the message that is being answered is, by its key.
enum Step {
    /// It is the step at which the answer is.
    Model,
    /// It is the call of a tool, by its position.
    Tool(usize),
}

impl Step {
    fn of(thread: &Thread, key: &str) -> Option<Self> {
        let Turn { message, steps, .. } = thread.turn.as_ref()?;
        let rest = key.strip_prefix(message.as_str())?.strip_prefix('/')?;
        let (step, call) = match rest.split_once('/') {
            Some((step, call)) => (step, Some(call.parse().ok()?)),
            None => (rest, None),
        };
        if step.parse() != Ok(*steps) {
            return None;
        }
        Some(call.map_or(Self::Model, Self::Tool))
    }
}
