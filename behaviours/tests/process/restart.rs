//! A program whose files change while it runs.

use agentry_behaviours::process::Process;
use agentry_sdk::testing::{Agent, Simulation};
use serde_json::json;

use crate::support::{ask, build_in, python, python_program, reply, with};

/// A program in Python that answers with this text.
fn answers(text: &str) -> String {
    format!(
        "import agentry.behaviour as agentry
class Answers(agentry.Behaviour):
    def on_message(self, message, context):
        return agentry.Effects().reply({text:?})
agentry.run(Answers())"
    )
}

#[tokio::test]
async fn a_changed_program_is_restarted_if_that_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bot.py");
    let settings = with(python_program(""), "args", json!(["bot.py"]));
    let watching = with(settings.clone(), "restart_on_change", true);
    std::fs::write(&file, answers("one")).unwrap();
    let watching = build_in(folder.path(), &watching).unwrap();
    let still = build_in(folder.path(), &settings).unwrap();
    for behaviour in [&watching, &still] {
        assert_eq!(reply(&ask(behaviour, "hello").await.unwrap()), "one");
    }
    std::fs::write(&file, answers("another")).unwrap();
    assert_eq!(reply(&ask(&watching, "hello").await.unwrap()), "another");
    assert_eq!(reply(&ask(&still, "hello").await.unwrap()), "one");
    // A syntax error fails the run, and its correction fixes the program.
    std::fs::write(&file, "import agentry, nonsense").unwrap();
    assert!(ask(&watching, "hello").await.unwrap_err().is_transient());
    std::fs::write(&file, answers("corrected")).unwrap();
    assert_eq!(reply(&ask(&watching, "hello").await.unwrap()), "corrected");
}

#[tokio::test]
async fn byte_order_marks_before_lines_are_ignored() {
    let script = "import sys
out = sys.stdout.buffer
sys.stdin.readline()
out.write(b'\\xef\\xbb\\xbf{\"type\":\"ready\",\"protocol\":1}\\n')
out.flush()
for line in sys.stdin:
    number = line.split('\"id\":')[1].split(',')[0]
    text = '\\ufeff{\"type\":\"effects\",\"id\":' + number + ',\"effects\":[{\"do\":\"reply\",\"text\":\"hi\"}]}\\n'
    out.write(text.encode())
    out.flush()";
    let mut chain = Simulation::new(3);
    assert!(python().is_dir());
    chain.host(Agent::named("marked").with::<Process>(python_program(script)));
    let alice = chain.peer("alice");
    chain.deliver(alice.text("hello")).await;
    let sent = chain.sent_to(&alice);
    assert_eq!(
        sent.iter().filter_map(|one| one.text()).collect::<Vec<_>>(),
        ["hi"]
    );
}
