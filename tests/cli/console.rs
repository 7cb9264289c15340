//! The web console of a running process: signing in, what is served, and attacks on it. That its pages
//! work is shown in a browser: `bash tests/referees/console/run`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::host::{Host, eventually};
use crate::http::{Response, address, call, start};
use crate::world::{World, mode};

/// A code for the console.
fn code(host: &Host<'_>, more: &[&str]) -> String {
    let mut all = vec!["ui", "--print"];
    all.extend(more);
    let printed = host.json(&all);
    let printed = printed["address"].as_str().unwrap();
    let (url, code) = printed.split_once("#code=").unwrap();
    assert_eq!(url, format!("http://{}/", address(host)));
    assert_eq!(code.len(), 64);
    code.to_owned()
}

fn sign_in_as(host: &Host<'_>, code: &str, headers: &[&str]) -> Response {
    let body = json!({ "code": code }).to_string();
    call(host, "POST", "/console/login", headers, &body)
}

/// The headers of a page that is signed in.
#[derive(Debug)]
struct Page {
    cookie: String,
    key: String,
    origin: String,
}

impl Page {
    fn sign_in(host: &Host<'_>, more: &[&str]) -> Self {
        let origin = format!("Origin: http://{}", address(host));
        let signed_in = sign_in_as(host, &code(host, more), &[&origin]);
        let key = signed_in.good(200)["key"].as_str().unwrap().to_owned();
        let cookie = signed_in.headers.lines();
        let cookie = cookie.filter_map(|line| line.strip_prefix("set-cookie: "));
        let cookie: Vec<&str> = cookie.collect();
        let [cookie] = cookie.as_slice() else {
            panic!("{signed_in:?}");
        };
        for wanted in ["httponly", "samesite=strict", "path=/", "max-age="] {
            assert!(cookie.contains(wanted), "{cookie}");
        }
        assert!(!cookie.contains("domain"), "{cookie}");
        Self {
            cookie: format!("Cookie: other=1; {}", cookie.split(';').next().unwrap()),
            key: format!("X-Agentry-Console: {key}"),
            origin,
        }
    }

    fn get(&self, host: &Host<'_>, path: &str) -> Response {
        call(host, "GET", path, &[&self.cookie, &self.key], "")
    }

    fn post(&self, host: &Host<'_>, path: &str, body: &Value) -> Response {
        let headers = [self.cookie.as_str(), &self.key, &self.origin];
        call(host, "POST", path, &headers, &body.to_string())
    }
}

#[test]
fn a_code_signs_in_once_and_only_on_a_page_of_the_console() {
    let world = World::new();
    let host = start(&world, "");
    let one = code(&host, &[]);
    let origin = format!("Origin: http://{}", address(&host));
    sign_in_as(&host, &one, &[]).refused(403, "not_allowed");
    for other in ["http://evil.test", "null", "http://127.0.0.1:1"] {
        let header = format!("Origin: {other}");
        sign_in_as(&host, &one, &[&header]).refused(403, "not_allowed");
    }
    sign_in_as(&host, &"0".repeat(64), &[&origin]).refused(401, "unauthenticated");
    let wrong = call(&host, "POST", "/console/login", &[&origin], "{\"other\":1}");
    wrong.refused(400, "invalid");
    sign_in_as(&host, &one, &[&origin]).good(200);
    sign_in_as(&host, &one, &[&origin]).refused(401, "unauthenticated");
    assert!(!host.log().contains(&one), "a code is in no log");
}

#[test]
fn a_session_is_a_cookie_and_a_key_together() {
    let world = World::new();
    let host = start(&world, "");
    let page = Page::sign_in(&host, &[]);
    let other = Page::sign_in(&host, &[]);
    let session = page.get(&host, "/console/session").good(200);
    assert_eq!(session["read_only"], false);
    let overview = page.get(&host, "/api/v1/overview").good(200);
    assert_eq!(
        (&overview["agents"], &overview["dead_letters"]),
        (&json!(3), &json!(0))
    );
    // A cookie alone is that of a page at another port; a key alone is nothing.
    for headers in [
        vec![page.cookie.as_str()],
        vec![page.key.as_str()],
        vec![page.cookie.as_str(), &other.key],
        vec![page.cookie.as_str(), &other.cookie, &page.key],
        vec![page.cookie.as_str(), &page.key, &other.key],
    ] {
        for path in ["/api/v1/overview", "/api/v1/events", "/console/session"] {
            call(&host, "GET", path, &headers, "").refused(401, "unauthenticated");
        }
    }
    // A page of another site, at whatever port, and one that is shown by nobody.
    for site in ["cross-site", "same-site", "none"] {
        let site = format!("Sec-Fetch-Site: {site}");
        let headers = [page.cookie.as_str(), &page.key, &site];
        for path in ["/api/v1/overview", "/api/v1/events"] {
            call(&host, "GET", path, &headers, "").refused(403, "not_allowed");
        }
    }
    let retry = json!({ "all": true }).to_string();
    let headers = [page.cookie.as_str(), &page.key];
    let bare = call(&host, "POST", "/api/v1/queue/retry", &headers, &retry);
    bare.refused(403, "not_allowed");
    let done = page.post(&host, "/api/v1/queue/retry", &json!({ "all": true }));
    assert_eq!(done.good(200)["changed"], 0);
    // Neither opens other doors.
    let mcp = page.post(
        &host,
        "/mcp",
        &json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }),
    );
    assert_eq!(mcp.status, 401, "{mcp:?}");
    let left = page.post(&host, "/console/logout", &json!({}));
    assert_eq!(left.status, 204, "{left:?}");
    assert!(left.headers.contains("max-age=0"), "{left:?}");
    page.get(&host, "/api/v1/overview")
        .refused(401, "unauthenticated");
    other.get(&host, "/api/v1/overview").good(200);
}

#[test]
fn a_read_only_session_sees_everything_and_changes_nothing() {
    let world = World::new();
    let host = start(&world, "");
    let page = Page::sign_in(&host, &["--read-only"]);
    assert_eq!(
        page.get(&host, "/console/session").good(200)["read_only"],
        true
    );
    for path in [
        "/overview",
        "/series",
        "/spending",
        "/hosted",
        "/queue?queue=inbox&part=dead",
        "/queue/count",
        "/approvals",
        "/tasks",
        "/work?open=true",
        "/agents",
        "/conversations?agent=asker",
    ] {
        page.get(&host, &format!("/api/v1{path}")).good(200);
    }
    let message = json!({ "from": "asker", "to": "worker", "text": "ping" });
    for (path, body) in [
        ("/queue/retry", json!({ "all": true })),
        ("/queue/drop", json!({ "all": true })),
        ("/queue/resume", json!({})),
        ("/reload", json!({})),
        ("/messages", message),
        ("/approvals/outbox/1", json!({ "grant": true })),
    ] {
        let refused = page.post(&host, &format!("/api/v1{path}"), &body);
        refused.refused(403, "not_allowed");
    }
    host.stop();

    let world = World::new();
    let host = start(&world, "console = \"read-only\"");
    let page = Page::sign_in(&host, &[]);
    assert_eq!(
        page.get(&host, "/console/session").good(200)["read_only"],
        true
    );
    let refused = page.post(&host, "/api/v1/queue/retry", &json!({ "all": true }));
    refused.refused(403, "not_allowed");
}

#[test]
fn a_console_that_is_off_is_not_there() {
    let world = World::new();
    let host = start(&world, "console = false");
    for path in ["/", "/console/app.js", "/console/session"] {
        assert_eq!(call(&host, "GET", path, &[], "").status, 404, "{path}");
    }
    host.run(&["ui", "--print"]).failed(78, "http.console");
}

#[test]
fn files_have_a_strict_policy_and_are_asked_for_again() {
    let world = World::new();
    let host = start(&world, "");
    for (path, kind) in [
        ("/", "text/html"),
        ("/console/app.js", "text/javascript"),
        ("/console/console.css", "text/css"),
        ("/console/icon.svg", "image/svg+xml"),
        ("/console/vendor/uplot.js", "text/javascript"),
    ] {
        let file = call(&host, "GET", path, &[], "");
        assert_eq!(file.status, 200, "{path}");
        for wanted in [
            &format!("content-type: {kind}"),
            "cache-control: no-cache",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-opener-policy: same-origin",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(
                file.headers.contains(wanted),
                "{path}: {wanted}: {}",
                file.headers
            );
        }
        let policies = file.headers.lines();
        let policies = policies.filter(|line| line.starts_with("content-security-policy: "));
        let policies: Vec<&str> = policies.collect();
        let [policy] = policies.as_slice() else {
            panic!("{path}: {policies:?}");
        };
        for wanted in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(wanted), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let tag = file
            .headers
            .lines()
            .find_map(|line| line.strip_prefix("etag: "));
        let known = format!("If-None-Match: {}", tag.unwrap());
        let same = call(&host, "GET", path, &[&known], "");
        assert_eq!((same.status, same.body.as_str()), (304, ""), "{path}");
        let head = call(&host, "HEAD", path, &[], "");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(call(&host, "POST", path, &[], "{}").status, 405, "{path}");
        call(&host, "GET", path, &["Host: evil.test"], "").refused(421, "not_allowed");
        call(&host, "GET", path, &["Origin: http://evil.test"], "").refused(403, "not_allowed");
    }
    assert_eq!(call(&host, "GET", "/console/other.js", &[], "").status, 404);
}

#[test]
fn the_browser_gets_a_file_that_only_its_owner_can_read() {
    let world = World::new();
    let host = start(&world, "");
    let tools = world.path("tools");
    fs::create_dir(&tools).unwrap();
    let opener = tools.join("xdg-open");
    fs::write(
        &opener,
        "#!/bin/sh\ncp -p \"$1\" \"$SEEN\" && echo \"$1\" > \"$SEEN.path\"\n",
    )
    .unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    let seen = world.path("seen.html");
    let path = std::env::var("PATH").unwrap();
    let mut opening = world
        .command(&["ui"])
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("SEEN", &seen)
        .env("XDG_RUNTIME_DIR", &tools)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let named = world.path("seen.html.path");
    eventually("the browser is opened", || {
        named.exists() && fs::read(&named).unwrap().ends_with(b"\n")
    });
    let page = fs::read_to_string(&seen).unwrap();
    assert_eq!(mode(&seen), 0o600);
    let file = fs::read_to_string(&named).unwrap();
    let file = std::path::Path::new(file.trim());
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    let code = page.split("#code=").nth(1).unwrap().get(..64).unwrap();
    let arguments = fs::read(format!("/proc/{}/cmdline", opening.id())).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains(code));
    let origin = format!("Origin: http://{}", address(&host));
    sign_in_as(&host, code, &[&origin]).good(200);
    assert!(opening.wait().unwrap().success());
    assert!(!file.parent().unwrap().exists(), "the file is removed");
}

#[test]
fn operations_of_the_console_follow_a_message_and_a_filter() {
    let world = World::new();
    let host = start(&world, "");
    let page = Page::sign_in(&host, &[]);
    let api = |path: &str| page.get(&host, &format!("/api/v1{path}")).good(200);
    let message = json!({
        "from": "asker", "to": "worker", "text": "ping", "thread": "tea", "ack": { "what": "done" },
    });
    let sent = page.post(&host, "/api/v1/messages", &message).good(202);
    let id = sent["id"].as_str().unwrap();
    let stage = |story: &Value, part: usize, name: &str| {
        let stages = story["parts"][part]["stages"].as_array().unwrap();
        stages
            .iter()
            .any(|one| one["stage"] == name && one["reached"] == true)
    };
    let path = format!("/messages/{id}/timeline");
    eventually("the whole story", || {
        let story = api(&path);
        let all = [
            "requested",
            "signed",
            "posted",
            "accepted",
            "mined",
            "final",
            "acknowledged",
        ];
        all.iter().all(|name| stage(&story, 0, name))
            && story["parts"].as_array().unwrap().len() >= 4
    });
    let story = api(&path);
    assert_eq!(
        (&story["id"], &story["agent"]),
        (&json!(id), &json!("asker"))
    );
    let parts = story["parts"].as_array().unwrap();
    let answer = parts
        .iter()
        .position(|part| part["message"]["text"] == "pong")
        .unwrap();
    assert_eq!(parts[answer]["from"], id);
    assert!(stage(&story, answer, "verified") && stage(&story, answer, "handled"));

    // The other side: what arrived, and what it caused.
    let inbox = api("/queue?queue=inbox&part=all&agent=worker");
    let inbox = inbox["rows"].as_array().unwrap();
    let received = inbox.iter().find(|row| row["text"] == "ping").unwrap();
    let story = api(&format!(
        "/messages/{}/timeline",
        received["id"].as_str().unwrap()
    ));
    let parts = story["parts"].as_array().unwrap();
    assert_eq!(
        (&parts[0]["kind"], &parts[0]["state"]),
        (&json!("received"), &json!("handled"))
    );
    let caused = parts
        .iter()
        .find(|part| part["message"]["text"] == "pong")
        .unwrap();
    assert_eq!(
        (&caused["from"], &caused["behaviour"]),
        (&received["id"], &json!("pong"))
    );

    let talks = api("/conversations?agent=worker");
    let talk = &talks["conversations"][0];
    assert_eq!(
        (&talk["peer_name"], &talk["thread"]),
        (&json!("asker"), &json!("tea"))
    );
    let said = api("/conversations/asker?agent=worker&thread=tea&limit=50");
    let said = said["messages"].as_array().unwrap();
    let texts: Vec<&str> = said.iter().filter_map(|one| one["text"].as_str()).collect();
    assert!(
        texts.starts_with(&["ping"]) && texts.contains(&"pong"),
        "{texts:?}"
    );

    let hosted = api("/hosted?search=WORK&sort=name");
    assert_eq!(
        (&hosted["matching"], &hosted["all"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(hosted["agents"][0]["agent"], "worker");
    let first = api("/hosted?sort=name&limit=2");
    let next = api(&format!(
        "/hosted?sort=name&limit=2&cursor={}",
        first["next"].as_str().unwrap()
    ));
    assert_eq!(
        (&next["agents"][0]["agent"], &next["next"]),
        (&json!("worker"), &json!(null))
    );

    // Nothing is changed if another number is expected.
    assert_eq!(api("/queue/count?agent=worker")["dead_letters"], 0);
    let other = json!({ "all": true, "agent": "worker", "expected": 1 });
    page.post(&host, "/api/v1/queue/retry", &other)
        .refused(409, "conflict");
    let none = json!({ "all": true, "agent": "worker", "expected": 0 });
    assert_eq!(
        page.post(&host, "/api/v1/queue/retry", &none).good(200)["changed"],
        0
    );
    let mixed = json!({ "ids": ["inbox/1"], "reason": "any" });
    page.post(&host, "/api/v1/queue/retry", &mixed)
        .refused(400, "invalid");
    assert!(
        api("/spending?agent=worker")["days"][0]["spent"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert_eq!(api("/series")["every_ms"], 10_000);
}

#[test]
fn the_stream_of_a_session_ends_with_it() {
    let world = World::new();
    let host = start(&world, "");
    let page = Page::sign_in(&host, &[]);
    let mut stream = std::net::TcpStream::connect(address(&host)).unwrap();
    let limit = std::time::Duration::from_secs(120);
    stream.set_read_timeout(Some(limit)).unwrap();
    let head = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n{}\r\n{}\r\n\r\n",
        address(&host),
        page.cookie,
        page.key
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let begins = lines.by_ref().any(|line| line.unwrap() == "event: ready");
    assert!(begins);
    let left = page.post(&host, "/console/logout", &json!({}));
    assert_eq!(left.status, 204);
    // It is looked at again when nothing has happened for a while.
    assert!(
        lines
            .map_while(Result::ok)
            .all(|line| !line.starts_with("event: message"))
    );
}
