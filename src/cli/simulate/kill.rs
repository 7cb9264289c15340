//! The behaviour `process`, whose program a test can kill while it handles an event.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_behaviours::process::Process;
use agentry_sdk::{
    AnyBehaviour, Authenticity, Behaviour, BehaviourError, ConfigureError, Context, DeliveryUpdate,
    Desk, Effects, Event, Message, Registry, Schedule, SentMessage, Settlement, Setup, Start,
    Starts, Task, TaskError, TaskLimits, TaskOutput, TaskReport, Tick, Timer,
};
use serde_json::{Map, Value, json};

/// How long a program that is no longer needed has to end. It is killed soon, as when the machine loses
/// its power: what a program does after its input has ended must not matter.
const GRACE: &str = "1ms";

/// The agents whose programs are killed in their next run, each with the time into it. This process
/// serves one test.
static ARMED: Mutex<BTreeMap<String, Duration>> = Mutex::new(BTreeMap::new());

fn armed() -> MutexGuard<'static, BTreeMap<String, Duration>> {
    ARMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills an agent's program in its next run, this long after the run has begun.
pub(super) fn arm(agent: String, after: Duration) {
    armed().insert(agent, after);
}

/// A program that can be killed.
#[derive(Debug)]
pub(super) struct Mortal {
    keys: Map<String, Value>,
    folder: PathBuf,
    living: Mutex<Arc<dyn AnyBehaviour>>,
}

impl Mortal {
    fn make(
        keys: &Map<String, Value>,
        folder: &std::path::Path,
    ) -> Result<Arc<dyn AnyBehaviour>, ConfigureError> {
        let registry = Registry::new().with::<Process>();
        let built = registry.build(Process::KIND, keys.clone(), folder);
        built.map_err(|error| ConfigureError(error.to_string()))
    }

    fn living(&self) -> Arc<dyn AnyBehaviour> {
        Arc::clone(&self.living.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn run(&self, event: Event, context: &Context) -> Result<Effects, BehaviourError> {
        let after = armed().remove(&context.agent);
        let living = self.living();
        let run = living.on_event(&event, context);
        let Some(after) = after else {
            return run.await;
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep(after) => {}
            // It was faster: its answer is lost with it.
            _ = run => {}
        }
        let next = Self::make(&self.keys, &self.folder);
        let next = next.map_err(|error| BehaviourError::permanent(error.to_string()))?;
        *self.living.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Err(BehaviourError::transient("the program was killed"))
    }
}

impl Behaviour for Mortal {
    const KIND: &'static str = Process::KIND;
    type Settings = Map<String, Value>;

    fn configure(mut keys: Self::Settings, setup: &Setup<'_>) -> Result<Self, ConfigureError> {
        keys.entry("grace").or_insert_with(|| json!(GRACE));
        let folder = setup.path("");
        Ok(Self {
            living: Mutex::new(Self::make(&keys, &folder)?),
            keys,
            folder,
        })
    }

    fn demands(&self) -> Authenticity {
        self.living().demands()
    }

    fn demands_seal(&self) -> bool {
        self.living().demands_seal()
    }

    fn commands(&self) -> Vec<String> {
        self.living().commands()
    }

    fn schemas(&self) -> Vec<(String, Value)> {
        self.living().schemas()
    }

    fn capabilities(&self) -> Vec<String> {
        self.living().capabilities()
    }

    fn starts(&self) -> Starts {
        self.living().starts()
    }

    fn schedules(&self) -> Vec<Schedule> {
        self.living().schedules()
    }

    fn accepts(&self, message: &Message) -> bool {
        self.living().accepts(message)
    }

    fn watches(&self, message: &Message) -> bool {
        self.living().watches(message)
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        self.run(Event::Message(Arc::new(message.clone())), context)
            .await
    }

    async fn on_timer(&self, timer: &Timer, context: &Context) -> Result<Effects, BehaviourError> {
        self.run(Event::Timer(timer.clone()), context).await
    }

    async fn on_start(&self, start: Start, context: &Context) -> Result<Effects, BehaviourError> {
        self.run(Event::Start(start), context).await
    }

    async fn on_tick(&self, tick: &Tick, context: &Context) -> Result<Effects, BehaviourError> {
        self.run(Event::Tick(tick.clone()), context).await
    }

    async fn on_delivery_update(
        &self,
        sent: &SentMessage,
        update: &DeliveryUpdate,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let event = Event::DeliveryUpdate(sent.clone(), update.clone());
        self.run(event, context).await
    }

    async fn on_settled(
        &self,
        message: &Message,
        settlement: &Settlement,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let event = Event::Settled(Arc::new(message.clone()), settlement.clone());
        self.run(event, context).await
    }

    async fn on_task(
        &self,
        report: &TaskReport,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        self.run(Event::Task(report.clone()), context).await
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        let living = self.living();
        living.execute(task, desk).await
    }

    fn task_limits(&self, kind: &str) -> TaskLimits {
        self.living().task_limits(kind)
    }
}
