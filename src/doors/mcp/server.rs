//! The handler.

use std::sync::Arc;

use agentry_protocol::untrusted::line;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ContentBlock,
    GetTaskParams, GetTaskResult, Implementation, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, RoleServer, SubscriptionContext};
use rmcp::{ErrorData, ServerHandler};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::api::answer;
use super::super::error::{DoorError, ErrorCode};
use super::access::{Access, Local, Options};
use super::asking::{Asked, answered};
use super::calls::Call;
use super::limits::Limits;
use super::resources::{self, Place};
use super::updates::{self, Watched};
use super::{questions, tasks, tools};
use crate::config::Config;

/// How many requests of one connection are carried out at a time.
const CONCURRENT: usize = 32;

/// The handler of the requests of one connection.
#[derive(Clone, Debug)]
pub struct McpServer(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    access: Access,
    limits: Limits,
    watched: Watched,
    places: Semaphore,
}

type Context = RequestContext<RoleServer>;

impl McpServer {
    /// A handler for the host that has started this process, with the operator's rights.
    pub fn local(config: Arc<Config>, options: Options) -> Self {
        let limits = Limits::new(options.budget, options.ask_above);
        Self::new(Access::Local(Box::new(Local::new(config, options))), limits)
    }

    /// A handler for requests that carry a [`Door`](super::super::door::Door), as
    /// [`Endpoint`](super::http::Endpoint) gives it to them. Who may spend what is the token's
    /// budget.
    pub fn over_http() -> Self {
        Self::new(Access::Requests, Limits::default())
    }

    fn new(access: Access, limits: Limits) -> Self {
        Self(Arc::new(Connection {
            access,
            limits,
            watched: Watched::default(),
            places: Semaphore::new(CONCURRENT),
        }))
    }

    /// A place among the requests that are carried out.
    fn place(&self) -> Result<SemaphorePermit<'_>, DoorError> {
        let busy = |_| DoorError::new(ErrorCode::Busy, "too many requests at the same time");
        self.0.places.try_acquire().map_err(busy)
    }

    /// What a caller is told of an error. Only the operator is told everything; faults are logged.
    fn message(&self, error: &DoorError) -> String {
        answer::log(error, "mcp");
        let message = match error.detail().filter(|_| self.0.access.is_operator()) {
            Some(detail) => format!("{}: {error} ({detail})", error.code().as_str()),
            None => format!("{}: {error}", error.code().as_str()),
        };
        line(&message).into_owned()
    }

    fn refused(&self, error: &DoorError) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text(self.message(error))])
    }

    /// The error of a request that is not a call of a tool.
    fn failed(&self, error: &DoorError) -> ErrorData {
        let message = self.message(error);
        match error.code() {
            ErrorCode::NotFound | ErrorCode::Invalid => ErrorData::invalid_params(message, None),
            ErrorCode::Internal => ErrorData::internal_error(message, None),
            _ => ErrorData::invalid_request(message, None),
        }
    }

    async fn call<'a>(
        &'a self,
        request: &'a CallToolRequestParams,
        context: &'a Context,
    ) -> Result<Call<'a>, DoorError> {
        Ok(Call {
            given: request.input_responses.as_ref(),
            state: request.request_state.as_deref(),
            ..self.plain_call(context).await?
        })
    }

    async fn plain_call<'a>(&'a self, context: &'a Context) -> Result<Call<'a>, DoorError> {
        Ok(Call {
            door: self.0.access.door(&context.extensions).await?,
            limits: &self.0.limits,
            context,
            given: None,
            state: None,
        })
    }

    async fn run(
        &self,
        request: CallToolRequestParams,
        context: &Context,
    ) -> Result<Option<CallToolResponse>, DoorError> {
        let _place = self.place()?;
        let arguments = request.arguments.clone().unwrap_or_default();
        let call = self.call(&request, context).await?;
        call.run(&request.name, arguments).await
    }

    async fn update(&self, request: UpdateTaskParams, context: &Context) -> Result<(), DoorError> {
        let _place = self.place()?;
        let call = self.plain_call(context).await?;
        let job = call.task(&request.task_id, None).await?;
        let Some(input) = questions::open(&job) else {
            return Ok(());
        };
        let given = request.input_responses.get(&questions::key(input.number));
        // A person who refuses leaves the task waiting.
        let Some(Asked::Answered(content)) = given.map(answered) else {
            return Ok(());
        };
        let missing = || DoorError::invalid("the content has no answer");
        let answer = questions::answer(input, content).ok_or_else(missing)?;
        call.answer(&job, answer).await.map(drop)
    }

    async fn cancel(&self, id: &str, context: &Context) -> Result<(), DoorError> {
        let _place = self.place()?;
        let call = self.plain_call(context).await?;
        let job = call.task(id, None).await?;
        if !job.state.is_open() {
            return Ok(());
        }
        call.cancel(&job).await.map(drop)
    }
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tasks()
            .build();
        let this = Implementation::new("agentry", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities)
            .with_server_info(this.with_title("agentry"))
            .with_instructions(tools::INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let shown = self.0.access.shown(&context.extensions)?;
        Ok(ListToolsResult::with_all_items(tools::shown(shown)))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::named(name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        match self.run(request, &context).await {
            Ok(Some(done)) => Ok(done),
            Ok(None) => Err(ErrorData::invalid_params("there is no such tool", None)),
            Err(error) => Ok(self.refused(&error).into()),
        }
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let listed = async {
            let _place = self.place()?;
            let door = self.0.access.door(&context.extensions).await?;
            resources::list(&door, request.and_then(|request| request.cursor)).await
        };
        listed.await.map_err(|error| self.failed(&error))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(resources::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = &request.uri;
        let Ok(place) = uri.parse::<Place>() else {
            return Err(resources::not_found(uri));
        };
        let read = async {
            let _turn = self.place()?;
            let door = self.0.access.door(&context.extensions).await?;
            if matches!(place, Place::Result { .. }) && self.0.limits.is_limited() {
                return resources::whole_result(&place, &door).await;
            }
            place.read(&door).await
        };
        match read.await {
            Ok(content) => Ok(resources::contents(uri, content).into()),
            Err(error) if error.code() == ErrorCode::NotFound => Err(resources::not_found(uri)),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(updates::accepted(requested))
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let context = subscription.request_context();
        let door = self.0.access.door(&context.extensions).await;
        let door = door.map_err(|error| self.failed(&error))?;
        updates::follow(&subscription, &door).await;
        Ok(())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        let door = self.0.access.door(&context.extensions).await;
        let door = door.map_err(|error| self.failed(&error))?;
        self.0.watched.add(&request.uri, door, context.peer).await
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: Context,
    ) -> Result<(), ErrorData> {
        self.0.watched.remove(&request.uri);
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: Context,
    ) -> Result<GetTaskResult, ErrorData> {
        let found = async {
            let _place = self.place()?;
            let call = self.plain_call(&context).await?;
            call.task(&request.task_id, None).await
        };
        let job = found.await.map_err(|error| self.failed(&error))?;
        Ok(tasks::detailed(&job))
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        let updated = self.update(request, &context).await;
        updated.map_err(|error| self.failed(&error))
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        let canceled = self.cancel(&request.task_id, &context).await;
        canceled.map_err(|error| self.failed(&error))
    }
}
