//! The formats of the services' answers, one fixture for each: OpenAI, Azure, vLLM, SGLang,
//! llama.cpp, Ollama, LiteLLM, OpenRouter, TGI and Mistral. An answer that is incomplete does not
//! complete the job.

use serde_json::json;

use crate::bench::{Server, asked, configured, executor, response, run_input, stream};

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// A piece of an answer.
const HELLO: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1795000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
/// The end of a stream.
const DONE: &str = "data: [DONE]\n\n";

/// A stream with these events between the first piece and the end.
fn with(events: &str) -> String {
    format!("{HELLO}{events}{DONE}")
}

/// A chunk that ends the answer for this reason.
fn ended(reason: &str) -> String {
    format!(
        "data: {{\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\",\"stop_reason\":null}}]}}\n\n"
    )
}

#[tokio::test]
async fn the_answers_of_each_service_are_accepted() {
    for (service, kind, body) in [
        (
            "OpenAI, a stream with its usage",
            EVENTS,
            format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}},\"finish_reason\":null}}],\"usage\":null}}\n\n{HELLO}{}data: {{\"choices\":[],\"usage\":{{\"total_tokens\":5}}}}\n\n{DONE}",
                ended("stop")
            ),
        ),
        (
            "Azure, filter results before and in the answer",
            EVENTS,
            format!(
                "data: {{\"choices\":[],\"prompt_filter_results\":[{{\"prompt_index\":0,\"content_filter_results\":{{\"hate\":{{\"filtered\":false}}}}}}]}}\n\n{HELLO}{}{DONE}",
                ended("stop")
            ),
        ),
        (
            "vLLM, reasoning before the answer",
            EVENTS,
            format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}}}}]}}\n\ndata: {{\"choices\":[{{\"index\":0,\"delta\":{{\"reasoning_content\":\"hm\"}},\"finish_reason\":null}}]}}\n\n{HELLO}{}{DONE}",
                ended("stop")
            ),
        ),
        (
            "SGLang, with what it stopped at",
            EVENTS,
            format!(
                "{HELLO}data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"role\":null,\"content\":null,\"reasoning_content\":null,\"tool_calls\":null}},\"finish_reason\":\"stop\",\"matched_stop\":128009}}],\"usage\":null}}\n\n{DONE}"
            ),
        ),
        (
            "llama.cpp, timings at the end",
            EVENTS,
            format!(
                "data: {{\"choices\":[{{\"finish_reason\":null,\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":null}}}}],\"system_fingerprint\":\"b6000\"}}\n\n{HELLO}data: {{\"choices\":[{{\"finish_reason\":\"stop\",\"index\":0,\"delta\":{{}}}}],\"timings\":{{\"predicted_ms\":12.5}}}}\n\n{DONE}"
            ),
        ),
        (
            "Ollama, its OpenAI endpoint",
            EVENTS,
            format!(
                "data: {{\"id\":\"chatcmpl-7\",\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"hello\"}},\"finish_reason\":null}}]}}\n\ndata: {{\"id\":\"chatcmpl-7\",\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"finish_reason\":\"stop\"}}]}}\n\n{DONE}"
            ),
        ),
        (
            "Ollama, its own stream",
            LINES,
            "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"hel\"},\"done\":false}\n{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"lo\"},\"done\":false}\n{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done_reason\":\"stop\",\"done\":true,\"eval_count\":2}\n".to_owned(),
        ),
        (
            "Ollama, its own answer in one object",
            JSON,
            "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"hello\"},\"done_reason\":\"stop\",\"done\":true}".to_owned(),
        ),
        (
            "OpenRouter, comments while it waits",
            EVENTS,
            format!(": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n{HELLO}{}{DONE}", ended("stop")),
        ),
        (
            "TGI, its words for the end",
            EVENTS,
            format!("{HELLO}{}", ended("eos_token")),
        ),
        (
            "LiteLLM, an empty reason in each piece",
            EVENTS,
            with("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"\"}]}\n\n"),
        ),
        (
            "Mistral, parts in place of a text",
            JSON,
            "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"hm\"}]},{\"type\":\"text\",\"text\":\"hello\"}]},\"finish_reason\":\"stop\"}]}".to_owned(),
        ),
        (
            "one object on several lines, a byte order mark, line ends of Windows",
            EVENTS,
            "\u{feff}data: {\r\ndata: \"choices\": [{\"delta\": {\"content\": \"hello\"}}]\r\ndata: }\r\n\r\ndata: [DONE]\r\n\r\n".to_owned(),
        ),
        (
            "a byte order mark before one object",
            JSON,
            "\u{feff}{\"choices\":[{\"message\":{\"content\":\"hello\"},\"finish_reason\":\"stop\"}]}".to_owned(),
        ),
    ] {
        let answer = asked(response("200 OK", kind, &body), &json!({})).await;
        assert_eq!(answer.as_deref(), Ok("hello"), "{service}");
    }
}

#[tokio::test]
async fn an_incomplete_answer_is_a_failure_with_its_own_code() {
    let whole = |choice: &str| format!("{{\"object\":\"chat.completion\",\"choices\":[{choice}]}}");
    let error = |text: &str| with(text);
    for (service, kind, body, code, again) in [
        ("any, cut off", EVENTS, with(&ended("length")), "length", false),
        (
            "OpenAI, cut off in one object",
            JSON,
            whole("{\"index\":0,\"message\":{\"content\":\"hel\"},\"finish_reason\":\"length\"}"),
            "length",
            false,
        ),
        (
            "vLLM, all tokens spent on reasoning",
            EVENTS,
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"reasoning_content\":\"hm\"}}}}]}}\n\n{}{DONE}", ended("length")),
            "length",
            false,
        ),
        (
            "Ollama, cut off",
            LINES,
            "{\"message\":{\"content\":\"hel\"},\"done\":false}\n{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"length\"}\n".to_owned(),
            "length",
            false,
        ),
        ("Azure, filtered", EVENTS, with(&ended("content_filter")), "filtered", false),
        ("LiteLLM for Gemini", EVENTS, with(&ended("SAFETY")), "filtered", false),
        (
            "OpenAI, a refusal",
            JSON,
            whole("{\"index\":0,\"message\":{\"content\":null,\"refusal\":\"I cannot help with that\"},\"finish_reason\":\"stop\"}"),
            "refusal",
            false,
        ),
        (
            "OpenAI, a refusal as a stream",
            EVENTS,
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"refusal\":\"I cannot\"}},\"finish_reason\":null}}]}}\n\n{}{DONE}", ended("stop")),
            "refusal",
            false,
        ),
        (
            "a refusal among parts",
            JSON,
            whole("{\"message\":{\"content\":[{\"type\":\"refusal\",\"refusal\":\"no\"}]},\"finish_reason\":\"stop\"}"),
            "refusal",
            false,
        ),
        (
            "OpenAI, a tool alone",
            JSON,
            whole("{\"index\":0,\"message\":{\"content\":null,\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}"),
            "tool-call",
            false,
        ),
        (
            "llama.cpp, a tool alone, which it says is the end",
            JSON,
            whole("{\"index\":0,\"message\":{\"content\":null,\"tool_calls\":[{\"id\":\"c\"}]},\"finish_reason\":\"stop\"}"),
            "tool-call",
            false,
        ),
        (
            "OpenAI, what came before tools",
            JSON,
            whole("{\"index\":0,\"message\":{\"content\":null,\"function_call\":{\"name\":\"f\"}},\"finish_reason\":\"function_call\"}"),
            "tool-call",
            false,
        ),
        ("vLLM, aborted", EVENTS, with(&ended("abort")), "aborted", true),
        ("vLLM, an error", EVENTS, with(&ended("error")), "aborted", true),
        ("DeepSeek", EVENTS, with(&ended("insufficient_system_resource")), "aborted", true),
        (
            "SGLang's own word for an abort",
            EVENTS,
            with("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":{\"type\":\"abort\",\"message\":\"out of memory\"}}]}\n\n"),
            "aborted",
            true,
        ),
        (
            "Ollama, a model that was only loaded",
            JSON,
            "{\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done_reason\":\"load\",\"done\":true}".to_owned(),
            "aborted",
            true,
        ),
        ("an unknown finish reason", EVENTS, with(&ended("because")), "bad-answer", false),
        (
            "no text at all",
            JSON,
            whole("{\"index\":0,\"message\":{\"content\":null},\"finish_reason\":\"stop\"}"),
            "empty",
            true,
        ),
        ("an empty stream", EVENTS, format!("{}{DONE}", ended("stop")), "empty", true),
        (
            "nothing but white space",
            JSON,
            whole("{\"index\":0,\"message\":{\"content\":\" \\n\"},\"finish_reason\":\"stop\"}"),
            "empty",
            true,
        ),
        // Errors within a stream that began with 200.
        (
            "vLLM",
            EVENTS,
            error("data: {\"error\":{\"message\":\"the engine is dead\",\"type\":\"InternalServerError\",\"param\":null,\"code\":500}}\n\n"),
            "service-error",
            true,
        ),
        (
            "vLLM, older",
            EVENTS,
            error("data: {\"object\":\"error\",\"message\":\"the engine is dead\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}\n\n"),
            "service-error",
            true,
        ),
        (
            "SGLang",
            EVENTS,
            error("data: {\"error\":{\"object\":\"error\",\"message\":\"Generation aborted.\",\"type\":\"INTERNAL_SERVER_ERROR\",\"code\":500}}\n\n"),
            "service-error",
            true,
        ),
        (
            "llama.cpp",
            EVENTS,
            error("data: {\"error\":{\"code\":500,\"message\":\"context shift is disabled\",\"type\":\"server_error\"}}\n\n"),
            "service-error",
            true,
        ),
        (
            "llama.cpp, older: a field of its own",
            EVENTS,
            error("error: {\"code\":500,\"message\":\"slot unavailable\",\"type\":\"server_error\"}\n\n"),
            "service-error",
            true,
        ),
        (
            "LiteLLM",
            EVENTS,
            error("data: {\"error\": {\"message\": \"litellm.APIError\", \"type\": null, \"param\": null, \"code\": \"500\"}}\n\n"),
            "service-error",
            true,
        ),
        (
            "TGI",
            EVENTS,
            error("data:{\"error\":\"Request failed during generation\",\"error_type\":\"generation\"}\n\n"),
            "service-error",
            true,
        ),
        (
            "OpenRouter: an error beside a choice",
            EVENTS,
            error("data: {\"error\":{\"code\":502,\"message\":\"Provider disconnected\"},\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n"),
            "service-error",
            true,
        ),
        (
            "an event with the name of one",
            EVENTS,
            error("event: error\ndata: out of memory\n\n"),
            "service-error",
            true,
        ),
        (
            "an event with the name of one, and what looks like an answer",
            EVENTS,
            error("event: error\ndata: {\"choices\":[]}\n\n"),
            "service-error",
            true,
        ),
        (
            "Anthropic's form",
            EVENTS,
            error("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"),
            "service-error",
            true,
        ),
        ("FastAPI", EVENTS, error("data: {\"detail\":\"Internal Server Error\"}\n\n"), "service-error", true),
        ("a gateway", EVENTS, error("data: {\"message\":\"upstream request timeout\"}\n\n"), "service-error", true),
        (
            "Ollama, in its own stream",
            LINES,
            "{\"message\":{\"content\":\"hel\"},\"done\":false}\n{\"error\":\"an error was encountered while running the model\"}\n".to_owned(),
            "service-error",
            true,
        ),
        // Errors in one object with 200.
        ("FastAPI, one object", JSON, "{\"detail\":\"Not authenticated\"}".to_owned(), "service-error", true),
        (
            "FastAPI, a list of what is wrong",
            JSON,
            "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"field required\"}]}".to_owned(),
            "service-error",
            true,
        ),
        ("a gateway, one object", JSON, "{\"message\":\"no healthy upstream\"}".to_owned(), "service-error", true),
        (
            "vLLM, older, one object",
            JSON,
            "{\"object\":\"error\",\"message\":\"no\",\"type\":\"NotFoundError\",\"code\":404}".to_owned(),
            "service-error",
            true,
        ),
        // Streams that end early.
        (
            "Ollama, an error that its OpenAI endpoint makes an empty piece of",
            EVENTS,
            format!("{HELLO}data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"finish_reason\":null}}]}}\n\n"),
            "connection-lost",
            true,
        ),
        ("any", EVENTS, HELLO.to_owned(), "connection-lost", true),
        (
            "Ollama, its own stream",
            LINES,
            "{\"message\":{\"content\":\"hello\"},\"done\":false}\n".to_owned(),
            "connection-lost",
            true,
        ),
    ] {
        let failed = asked(response("200 OK", kind, &body), &json!({})).await;
        let failed = failed.expect_err(service);
        assert_eq!((failed.code(), failed.is_transient()), (code, again), "{service}: {failed}");
        // The service's own text is for the operator only.
        for word in ["engine", "upstream", "memory", "cannot", "Provider", "hel"] {
            assert!(!failed.public().contains(word), "{service}: {}", failed.public());
        }
    }
}

#[tokio::test]
async fn data_after_the_end_of_an_answer_does_not_change_it() {
    for body in [
        format!("{HELLO}{}", ended("stop")),
        format!("{HELLO}{}data: {{\"choices\":[", ended("stop")),
        format!("{HELLO}{}: bye\n", ended("stop")),
    ] {
        assert_eq!(
            asked(stream(&body), &json!({})).await.as_deref(),
            Ok("hello")
        );
    }
}

#[tokio::test]
async fn a_cut_off_answer_is_accepted_and_marked_if_that_is_configured() {
    let cut = with(&ended("length"));
    let empty = format!("{}{DONE}", ended("length"));
    let server = Server::start([stream(&cut), stream(&empty), stream(&with(&ended("stop")))]).await;
    let service = executor(&server, &json!({ "on_length": "cut" }));
    let ask = || run_input(service.as_ref(), json!({ "prompt": "hello" }));
    let output = ask().await.unwrap();
    assert_eq!(output.text, "hello");
    assert_eq!(output.incomplete.as_deref(), Some("length"));
    assert_eq!(ask().await.unwrap_err().code(), "length");
    assert_eq!(ask().await.unwrap().incomplete, None);

    let refused = configured("http://127.0.0.1:1", &json!({ "on_length": "keep" })).unwrap_err();
    assert!(refused.contains("expected `fail` or `cut`"), "{refused}");
}
