//! `agentry new`, `agentry dev` and `agentry simulate`: from nothing to an agent that is changed while it
//! runs, and tested.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::forms;
use crate::world::{Run, World};

/// How long a test waits for an expected line.
const LONG: Duration = Duration::from_secs(180);

/// Values that let tests run at the same time.
const SETTINGS: [&str; 6] = [
    "--set",
    "devnet.port=0",
    "--set",
    "http.listen=127.0.0.1:0",
    "--set",
    "devnet.block_time=50ms",
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A running `agentry dev` in a folder of the world.
struct Dev<'a> {
    world: &'a World,
    folder: &'a str,
    child: Child,
    typed: ChildStdin,
    lines: Receiver<Value>,
    node: String,
}

impl<'a> Dev<'a> {
    fn start(world: &'a World, folder: &'a str) -> Self {
        let mut command = world.command(&["dev", "--json"]);
        let mut child = command
            .args(SETTINGS)
            .current_dir(world.path(folder))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).expect("json");
                forms::check(&["dev"], &line);
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut dev = Self {
            world,
            folder,
            typed: child.stdin.take().unwrap(),
            child,
            lines,
            node: String::new(),
        };
        let started = dev.until("started", |_| true);
        dev.node = started["node"].as_str().unwrap().to_owned();
        dev
    }

    /// The next line with this event that fits.
    fn until(&self, event: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LONG;
        let mut others = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line {event:?} that fits; there were {others:#?}");
            };
            if line["event"] == event && fits(&line) {
                return line;
            }
            others.push(line);
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.typed, "{line}").unwrap();
    }

    /// Waits until the visitor gets this text.
    fn hears(&self, text: &str) {
        self.until("message", |line| {
            let message = &line["message"];
            message["to_name"] == "visitor" && message["text"] == text
        });
    }

    /// Changes the program.
    fn edit(&self, change: impl FnOnce(String) -> String) {
        let path = self.world.path(self.folder).join("agent.py");
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Dev<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn an_agent_is_written_answers_and_is_changed_while_it_runs() {
    let world = World::new();
    let made = world.json(&["new", "--python", "greeter"]);
    assert_eq!(made["start"], "agentry dev");
    let mut dev = Dev::start(&world, "greeter");
    dev.say("hello");
    dev.until("message", |line| {
        let message = &line["message"];
        message["from_name"] == "visitor" && message["text"] == "hello"
    });
    dev.hears("You said: hello");
    dev.say(r#"@greeter {"cmd": "GREET", "name": "Ada"}"#);
    dev.hears("Hello, Ada! You are visitor 1.");
    dev.say("@nobody hello");
    dev.until("failed", |line| {
        line["reason"].as_str().unwrap().contains("nobody")
    });

    // From another terminal.
    let node = format!("chain.rpc={}", dev.node);
    let asked = world
        .command(&[
            "agent", "message", "--wallet", "visitor", "--to", "greeter", "there",
        ])
        .args(["--wait", "--json", "--set", &node])
        .current_dir(world.path("greeter"))
        .output()
        .unwrap();
    let answered = Run::of(asked).json();
    assert_eq!(answered["answer"]["text"], "You said: there");

    // Its card says what its commands look like.
    let beside = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.args(["--json", "--set", &node]);
        Run::of(command.current_dir(world.path("greeter")).output().unwrap()).json()
    };
    let registered = beside(&["agent", "register", "--agent", "greeter", "--wait"]);
    forms::check(&["agent", "register"], &registered);
    let shown = beside(&["agent", "show", "greeter"]);
    forms::check(&["agent", "show"], &shown);
    let schema = &shown["card"]["schemas"]["GREET"]["properties"]["name"];
    assert_eq!(
        *schema,
        json!({ "type": "string", "minLength": 1, "maxLength": 64 }),
        "{shown}"
    );

    // Another answer.
    dev.edit(|text| text.replace("You said", "I heard"));
    let reloaded = dev.until("reloaded", |_| true);
    assert_eq!(reloaded["restarted"], json!(["greeter"]));
    dev.say("hello");
    dev.hears("I heard: hello");

    // Code that does not run leaves the agent as it is.
    dev.edit(|text| text.replace("if __name__", "nonsense(\nif __name__"));
    let failed = dev.until("failed", |_| true);
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("SyntaxError"), "{reason}");
    dev.say("again");
    dev.hears("I heard: again");
    dev.edit(|text| text.replace("nonsense(\n", ""));
    dev.until("reloaded", |_| true);

    // Another command, which the agent did not get before.
    let part = "@agent.on(\"PART\")\nasync def part(ctx: Context, _: object) -> None:\n    \
                await ctx.reply(\"Bye.\")\n\n\nif __name__";
    dev.edit(|text| text.replace("if __name__", part));
    let reloaded = dev.until("reloaded", |_| true);
    assert_eq!(reloaded["agents"]["changed"], json!(["greeter"]));
    dev.say(r#"{"cmd":"PART"}"#);
    dev.hears("Bye.");
    let declared = fs::read_to_string(world.path("greeter/agent.json")).unwrap();
    let declared: Value = serde_json::from_str(&declared).unwrap();
    assert_eq!(declared["commands"]["PART"], json!({}));

    // Another agent.
    let config = world.path("greeter/agents.toml");
    let text = fs::read_to_string(&config).unwrap();
    let more = "\n[[agent]]\nname = \"echo\"\nbehaviours = [{ kind = \"pong\" }]\n";
    fs::write(&config, text + more).unwrap();
    let reloaded = dev.until("reloaded", |_| true);
    assert_eq!(reloaded["agents"]["added"], json!(["echo"]));
    dev.say("@echo ping");
    dev.until("message", |line| {
        line["message"]["to_name"] == "echo" && line["message"]["text"] == "ping"
    });
    dev.stop();
}

#[test]
fn a_project_in_python_is_whole_and_is_never_overwritten() {
    let world = World::new();
    let made = world.json(&["new", "--python", "my-agent"]);
    let files: BTreeSet<&str> = made["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap())
        .collect();
    // Every file of the package is there, unchanged.
    for entry in fs::read_dir(top().join("python/src/agentry")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let name = format!("agentry/{}", path.file_name().unwrap().to_str().unwrap());
        assert!(
            files.contains(name.as_str()),
            "{name} is missing in src/cli/new.rs"
        );
        let copy = fs::read(world.path("my-agent").join(&name)).unwrap();
        assert_eq!(copy, fs::read(path).unwrap(), "{name}");
    }
    for file in &files {
        assert!(world.path("my-agent").join(file).is_file(), "{file}");
    }
    for file in ["agents.toml", "agent.py", "README.md", "test_agent.py"] {
        let text = fs::read_to_string(world.path("my-agent").join(file)).unwrap();
        assert!(
            text.contains("my-agent") && !text.contains("greeter"),
            "{file}"
        );
    }
    let examples = top().join("examples/python/agents.toml");
    world
        .run(&["-c", examples.to_str().unwrap(), "config", "check"])
        .good();
    // The configuration is valid, and the file is what the program declares.
    let checked = world.run(&["-c", "my-agent/agents.toml", "config", "check"]);
    checked.good();
    let declared = Command::new("python3")
        .args(["agent.py", "--declare"])
        .current_dir(world.path("my-agent"))
        .output()
        .unwrap();
    let file = fs::read(world.path("my-agent/agent.json")).unwrap();
    assert_eq!(declared.stdout, file, "{declared:?}");

    fs::write(world.path("my-agent/agent.py"), "mine").unwrap();
    let again = world.run(&["new", "--python", "my-agent"]);
    again.failed(73, "my-agent exists already");
    let again = world.run(&["new", "--rust", "my-agent"]);
    again.failed(73, "my-agent exists already");
    assert_eq!(fs::read(world.path("my-agent/agent.py")).unwrap(), b"mine");
    for name in [
        "",
        "-a",
        "A",
        "a b",
        "../a",
        "ait1x",
        "a-",
        "visitor",
        &"a".repeat(41),
    ] {
        let argument = format!("--python={name}");
        let refused = world.run(&["new", &argument]);
        assert_eq!(refused.code, 64, "{name:?}: {refused:#?}");
    }
    world.run(&["new"]).failed(64, "--python <NAME>");
}

#[test]
fn a_project_in_rust_builds_with_the_checkout_or_the_repository() {
    let world = World::new();
    let checkout = top().to_str().unwrap();
    let made = world.json(&["new", "--rust", "tea-time", "--agentry", checkout]);
    assert_eq!(made["start"], "cargo run -- dev");
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--depth",
            "1",
            "--prefix",
            "none",
        ])
        .arg("--manifest-path")
        .arg(world.path("tea-time/Cargo.toml"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.starts_with("tea-time v0.1.0"), "{tree}");
    assert!(tree.contains("crates/sdk)"), "{tree}");
    let main = fs::read_to_string(world.path("tea-time/src/main.rs")).unwrap();
    assert!(main.contains("tea_time::"), "{main}");

    world.run(&["new", "--rust", "other"]).good();
    let manifest = fs::read_to_string(world.path("other/Cargo.toml")).unwrap();
    let table: toml::Table = manifest.parse().unwrap();
    for (section, package) in [
        ("dependencies", "agentry"),
        ("dev-dependencies", "agentry-sdk"),
    ] {
        let source = table[section][package]["git"].as_str().unwrap();
        assert_eq!(source, env!("CARGO_PKG_REPOSITORY"));
    }
    let wrong = world.run(&["new", "--rust", "third", "--agentry", "."]);
    wrong.failed(66, "is no checkout of agentry");
    assert!(!world.path("third").exists());
}

#[test]
fn dev_works_only_where_nothing_can_be_lost() {
    let world = World::new();
    let nothing = world.run(&["dev"]);
    nothing.failed(66, "`agentry new --python NAME` writes a project");
    world.run(&["new", "--python", "a"]).good();
    let config = world.path("a/agents.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[devnet]  ", "# ")).unwrap();
    let real = world.run(&["-c", "a/agents.toml", "dev"]);
    real.failed(78, "has no [devnet]");
    fs::write(&config, &text).unwrap();
    let unknown = world.run(&["-c", "a/agents.toml", "dev", "--to", "b"]);
    unknown.failed(
        64,
        "no agent of agents.toml is called \"b\"; they are a, visitor",
    );
    fs::write(world.path("a/agent.py"), "nonsense").unwrap();
    fs::remove_file(world.path("a/agent.json")).unwrap();
    let broken = world.run(&["-c", "a/agents.toml", "dev"]);
    broken.failed(65, "NameError: name 'nonsense' is not defined");
}

/// Runs Python in a new project, with the simulation.
fn python(world: &World, folder: &str, program: &str) -> String {
    let output = Command::new("python3")
        .args(["-c", program])
        .current_dir(world.path(folder))
        .env("AGENTRY", env!("CARGO_BIN_EXE_agentry"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_project_in_python_passes_its_own_tests() {
    let world = World::new();
    world.run(&["new", "--python", "greeter"]).good();
    // What pytest does with the fixture.
    let told = python(
        &world,
        "greeter",
        "import test_agent\n\
         from agentry.testing import Simulation\n\
         tests = [value for name, value in vars(test_agent).items() if name.startswith('test_')]\n\
         for test in tests:\n    \
             with Simulation() as simulation:\n        \
                 test(simulation)\n\
         print(len(tests))\n",
    );
    assert_eq!(told.trim(), "2");
}

#[test]
fn a_program_that_is_killed_at_any_point_counts_each_message_once() {
    let world = World::new();
    world.run(&["new", "--python", "greeter"]).good();
    let told = python(
        &world,
        "greeter",
        "from agentry.testing import Simulation\n\
         with Simulation(seed=3) as simulation:\n    \
             agent = simulation.host('greeter', 'agent.py')\n    \
             ada = simulation.peer('ada')\n    \
             ada.send(agent, 'warm up')\n    \
             simulation.disturb(20)\n    \
             for after in (0, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2):\n        \
                 agent.kill(after)\n        \
                 ada.send(agent, {'cmd': 'GREET', 'name': f'Ada {after}'})\n        \
                 simulation.advance('5s')\n    \
             assert simulation.dead_letters == [], simulation.dead_letters\n    \
             assert simulation.runs > 8\n    \
             print(agent.state, len(ada.received), len({m.text for m in ada.received}))\n",
    );
    assert_eq!(told.trim(), "{'visits': 7} 8 8");
}

#[test]
fn what_breaks_the_rules_of_the_simulation_is_answered() {
    let world = World::new();
    let input = [
        "nonsense",
        r#"{"do":"peer","name":"ada"}"#,
        r#"{"do":"peer","name":"ada"}"#,
        r#"{"do":"host","name":"a","behaviours":[{"kind":"pong","trigger":1}],"folder":"."}"#,
        r#"{"do":"post","from":"ada","to":"b","said":"ping"}"#,
        r#"{"do":"host","name":"b","behaviours":[{"kind":"pong"}],"folder":"."}"#,
        r#"{"do":"post","from":"ada","to":"b","said":"ping"}"#,
        r#"{"do":"state","agent":"b","behaviour":"none"}"#,
        r#"{"do":"settle"}"#,
        r#"{"do":"sent"}"#,
    ];
    let run = world.run_with_input(&["simulate"], input.join("\n").as_bytes());
    let answers: Vec<Value> = run
        .good()
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let error = |at: usize, told: &str| {
        let error = answers[at]["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", answers[at]));
        assert!(error.contains(told), "{error}");
    };
    error(0, "expected ident");
    assert!(answers[1]["ok"]["address"].is_string());
    error(2, "there is a \"ada\" already");
    error(3, "behaviour \"pong\"");
    error(4, "nobody is called \"b\"");
    assert!(answers[6]["ok"].is_string());
    error(7, "b has no behaviour \"none\"");
    assert_eq!(answers[8]["ok"], Value::Null);
    assert_eq!(answers[9]["ok"][0]["text"], "pong");
}
