//! Type-erased behaviours and executors, so that one list can hold many kinds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

use crate::event::Event;
use crate::task::{Desk, Executor, Task, TaskError, TaskLimits, TaskOutput};
use crate::{Authenticity, Behaviour, BehaviourError, Context, Effects, Message, Schedule, Starts};

/// One run of a behaviour.
pub type Run<'a> = Pin<Box<dyn Future<Output = Result<Effects, BehaviourError>> + Send + 'a>>;

/// One run of a task.
pub type TaskRun<'a> = Pin<Box<dyn Future<Output = Result<TaskOutput, TaskError>> + Send + 'a>>;

/// A type-erased behaviour.
///
/// Every [`Behaviour`] implements it; do not implement it by hand.
pub trait AnyBehaviour: fmt::Debug + Send + Sync {
    /// [`Behaviour::KIND`].
    fn kind(&self) -> &'static str;
    /// [`Behaviour::demands`].
    fn demands(&self) -> Authenticity;
    /// [`Behaviour::demands_seal`].
    fn demands_seal(&self) -> bool;
    /// [`Behaviour::commands`].
    fn commands(&self) -> Vec<String>;
    /// [`Behaviour::schemas`].
    fn schemas(&self) -> Vec<(String, Value)>;
    /// [`Behaviour::capabilities`].
    fn capabilities(&self) -> Vec<String>;
    /// [`Behaviour::known_senders`].
    fn known_senders(&self) -> Vec<String>;
    /// [`Behaviour::accepts`].
    fn accepts(&self, message: &Message) -> bool;
    /// [`Behaviour::watches`].
    fn watches(&self, message: &Message) -> bool;
    /// [`Behaviour::starts`].
    fn starts(&self) -> Starts;
    /// [`Behaviour::schedules`].
    fn schedules(&self) -> Vec<Schedule>;
    /// [`Behaviour::content`].
    fn content(&self) -> Value;
    /// [`Behaviour::takes_schedules`].
    fn takes_schedules(&self) -> bool;
    /// Calls the handler for an event.
    fn on_event<'a>(&'a self, event: &'a Event, context: &'a Context) -> Run<'a>;
    /// [`Behaviour::execute`].
    fn execute<'a>(&'a self, task: &'a Task, desk: &'a Desk) -> TaskRun<'a>;
    /// [`Behaviour::executes`].
    fn executes(&self, kind: &str) -> bool;
    /// [`Behaviour::task_limits`].
    fn task_limits(&self, kind: &str) -> TaskLimits;
    /// [`Behaviour::task_tokens`].
    fn task_tokens(&self, task: &Task) -> Option<u64>;
}

impl<B: Behaviour> AnyBehaviour for B {
    fn kind(&self) -> &'static str {
        B::KIND
    }

    fn demands(&self) -> Authenticity {
        Behaviour::demands(self)
    }

    fn demands_seal(&self) -> bool {
        Behaviour::demands_seal(self)
    }

    fn commands(&self) -> Vec<String> {
        Behaviour::commands(self)
    }

    fn schemas(&self) -> Vec<(String, Value)> {
        Behaviour::schemas(self)
    }

    fn capabilities(&self) -> Vec<String> {
        Behaviour::capabilities(self)
    }

    fn known_senders(&self) -> Vec<String> {
        Behaviour::known_senders(self)
    }

    fn accepts(&self, message: &Message) -> bool {
        Behaviour::accepts(self, message)
    }

    fn watches(&self, message: &Message) -> bool {
        Behaviour::watches(self, message)
    }

    fn starts(&self) -> Starts {
        Behaviour::starts(self)
    }

    fn schedules(&self) -> Vec<Schedule> {
        Behaviour::schedules(self)
    }

    fn content(&self) -> Value {
        Behaviour::content(self)
    }

    fn takes_schedules(&self) -> bool {
        Behaviour::takes_schedules(self)
    }

    fn on_event<'a>(&'a self, event: &'a Event, context: &'a Context) -> Run<'a> {
        match event {
            Event::Message(message) => Box::pin(self.on_message(message, context)),
            Event::Timer(timer) => Box::pin(self.on_timer(timer, context)),
            Event::DeliveryUpdate(sent, update) => {
                Box::pin(self.on_delivery_update(sent, update, context))
            }
            Event::Settled(message, settlement) => {
                Box::pin(self.on_settled(message, settlement, context))
            }
            Event::Task(report) => Box::pin(self.on_task(report, context)),
            Event::Start(start) => Box::pin(self.on_start(*start, context)),
            Event::Tick(tick) => Box::pin(self.on_tick(tick, context)),
        }
    }

    fn execute<'a>(&'a self, task: &'a Task, desk: &'a Desk) -> TaskRun<'a> {
        Box::pin(Behaviour::execute(self, task, desk))
    }

    fn executes(&self, kind: &str) -> bool {
        Behaviour::executes(self, kind)
    }

    fn task_limits(&self, kind: &str) -> TaskLimits {
        Behaviour::task_limits(self, kind)
    }

    fn task_tokens(&self, task: &Task) -> Option<u64> {
        Behaviour::task_tokens(self, task)
    }
}

/// A type-erased executor.
///
/// Every [`Executor`] implements it; do not implement it by hand.
pub trait AnyExecutor: fmt::Debug + Send + Sync {
    /// [`Executor::KIND`].
    fn kind(&self) -> &'static str;
    /// [`Executor::tokens`].
    fn tokens(&self, task: &Task) -> Option<u64>;
    /// [`Executor::execute`].
    fn execute<'a>(&'a self, task: &'a Task, desk: &'a Desk) -> TaskRun<'a>;
}

impl<E: Executor> AnyExecutor for E {
    fn kind(&self) -> &'static str {
        E::KIND
    }

    fn tokens(&self, task: &Task) -> Option<u64> {
        Executor::tokens(self, task)
    }

    fn execute<'a>(&'a self, task: &'a Task, desk: &'a Desk) -> TaskRun<'a> {
        Box::pin(Executor::execute(self, task, desk))
    }
}
