//! The handler: what is not a fixture is answered by the product's.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use agentry::doors::mcp::McpServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
    CompleteResult, CompletionInfo, GetPromptRequestParams, GetPromptResponse, GetTaskParams,
    GetTaskResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, PromptsCapability, ReadResourceRequestParams,
    ReadResourceResponse, ServerConfig, SetLevelRequestParams, SubscribeRequestParams,
    SubscriptionFilter, Tool, ToolsCapability, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, RoleServer, SubscriptionContext};
use rmcp::task_manager::TaskManager;
use rmcp::{ErrorData, ServerHandler};

use crate::{contents, inputs, jobs, tools};

/// The product's handler with fixtures.
#[derive(Clone)]
pub(crate) struct Fixtures {
    product: McpServer,
    /// The tasks that fixtures started.
    pub(crate) tasks: TaskManager,
    /// The states that tools have handed out, and not seen again.
    pub(crate) states: Arc<Mutex<HashSet<String>>>,
    /// Told that the lists of tools and prompts have changed.
    pub(crate) changed: tokio::sync::broadcast::Sender<Changed>,
}

/// What has changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Changed {
    Tools,
    Prompts,
}

impl Fixtures {
    pub(crate) fn new(product: McpServer) -> Self {
        Self {
            product,
            tasks: TaskManager::new(),
            states: Arc::default(),
            changed: tokio::sync::broadcast::channel(16).0,
        }
    }
}

fn tool(name: &str) -> Option<Tool> {
    all().into_iter().find(|tool| tool.name == name)
}

fn all() -> Vec<Tool> {
    [tools::list(), inputs::list(), jobs::list()].concat()
}

type Context = RequestContext<RoleServer>;

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        let mut info = self.product.get_info();
        let capabilities = &mut info.capabilities;
        let mut prompts = PromptsCapability::default();
        prompts.list_changed = Some(true);
        capabilities.prompts = Some(prompts);
        let mut tools = ToolsCapability::default();
        tools.list_changed = Some(true);
        capabilities.tools = Some(tools);
        capabilities.logging = Some(serde_json::Map::new());
        capabilities.completions = Some(serde_json::Map::new());
        info
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut listed = self.product.list_tools(request, context).await?;
        listed.tools.extend(all());
        Ok(listed)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tool(name).or_else(|| self.product.get_tool(name))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        if tool(&request.name).is_none() {
            return self.product.call_tool(request, context).await;
        }
        if let Some(done) = tools::call(self, &request, &context).await {
            return done.map(Into::into);
        }
        match inputs::call(self, &request, &context).await {
            Some(asked) => asked,
            None => jobs::call(self, &request, &context).await,
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: Context,
    ) -> Result<GetTaskResult, ErrorData> {
        match self.tasks.get_task(&request.task_id) {
            Ok(task) => Ok(GetTaskResult::new(task)),
            Err(_) => self.product.get_task(request, context).await,
        }
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        if self.tasks.get_task(&request.task_id).is_err() {
            return self.product.update_task(request, context).await;
        }
        self.tasks
            .update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        if self.tasks.get_task(&request.task_id).is_err() {
            return self.product.cancel_task(request, context).await;
        }
        self.tasks.cancel_task(&request.task_id)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let mut listed = self.product.list_resources(request, context).await?;
        listed.resources.splice(0..0, contents::resources());
        Ok(listed)
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut listed = self
            .product
            .list_resource_templates(request, context)
            .await?;
        listed.resource_templates.push(contents::template());
        Ok(listed)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        match contents::read(&request.uri) {
            Some(read) => Ok(read.into()),
            None => self.product.read_resource(request, context).await,
        }
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let mut accepted = self.product.accepted_subscription_filter(requested)?;
        accepted.tools_list_changed = requested.tools_list_changed;
        accepted.prompts_list_changed = requested.prompts_list_changed;
        Some(accepted)
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let accepted = subscription.accepted();
        if accepted.resource_subscriptions.is_some() {
            return self.product.listen(subscription).await;
        }
        let mut changed = self.changed.subscribe();
        loop {
            let sink = subscription.sink();
            // What was not accepted is refused by the sink.
            let _ = tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                told = changed.recv() => match told {
                    Ok(Changed::Tools) => sink.notify_tool_list_changed().await,
                    Ok(Changed::Prompts) => sink.notify_prompt_list_changed().await,
                    Err(_) => return Ok(()),
                },
            };
        }
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        if request.uri.starts_with("test://") {
            return Ok(());
        }
        self.product.subscribe(request, context).await
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        if request.uri.starts_with("test://") {
            return Ok(());
        }
        self.product.unsubscribe(request, context).await
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(contents::prompts()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        contents::prompt(&request)
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let values = vec!["test".to_owned()];
        let info = CompletionInfo::new(values);
        let info = info.map_err(|error| ErrorData::internal_error(error, None))?;
        Ok(CompleteResult::new(info))
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }
}
