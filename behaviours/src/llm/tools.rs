//! The tools that every agent with a model has, as the model sees them.

use serde_json::{Value, json};

/// The names of the tools that are built in.
pub(super) const BUILT_IN: [&str; 5] = [REPLY, SEND, FIND_AGENTS, SUBMIT_TASK, REMEMBER];

pub(super) const REPLY: &str = "reply";
pub(super) const SEND: &str = "send";
pub(super) const FIND_AGENTS: &str = "find_agents";
pub(super) const SUBMIT_TASK: &str = "submit_task";
pub(super) const REMEMBER: &str = "remember";

/// The definition of a tool.
pub(super) fn definition(name: &str, description: &str, parameters: &Value) -> Value {
    json!({
        "type": "function",
        "function": { "name": name, "description": description, "parameters": parameters },
    })
}

fn built_in(name: &str, description: &str, properties: &Value, required: &[&str]) -> Value {
    let parameters = json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    });
    definition(name, description, &parameters)
}

/// The one tool that is offered whoever has asked.
pub(super) fn reply() -> Value {
    built_in(
        REPLY,
        "Answers the sender of the last message, and ends your work on it.",
        &json!({ "text": { "type": "string" } }),
        &["text"],
    )
}

/// The tools that change nothing for others.
pub(super) fn of_trusted() -> [Value; 2] {
    let text = json!({ "type": "string" });
    [
        built_in(
            FIND_AGENTS,
            "Finds agents in the directory, by name, by what they can do, or by a command that they handle.",
            &json!({ "name": text, "capability": text, "command": text }),
            &[],
        ),
        built_in(
            REMEMBER,
            "Notes something about this conversation, to be remembered. An empty text removes the note.",
            &json!({ "key": text, "text": text }),
            &["key", "text"],
        ),
    ]
}

/// The tools that send something to other agents.
pub(super) fn of_senders() -> [Value; 2] {
    let text = json!({ "type": "string" });
    let agent = json!({ "type": "string", "description": "the name or the address of the agent" });
    [
        built_in(
            SEND,
            "Sends a message to another agent. Its answer is not waited for.",
            &json!({ "to": agent, "text": text }),
            &["to", "text"],
        ),
        built_in(
            SUBMIT_TASK,
            "Gives a task to another agent, and waits for the result. The type is one that the agent does: its capability `task:TYPE`.",
            &json!({ "to": agent, "type": text, "prompt": text }),
            &["to", "type", "prompt"],
        ),
    ]
}
