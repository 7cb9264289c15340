//! `agentry worker` before it works: what is wrong is told by name. Workers at work are in
//! `tests/cluster`.

use agentry::cli::ExitCode;

use crate::world::World;

/// A world whose agents.toml has a cluster that nobody needs to reach, and no wallet.
fn world(cluster: &str, tasks: &str) -> World {
    let world = World::new();
    let text = format!(
        "[chain]\nid = \"ait-devnet\"\n{cluster}{tasks}[wallets]\nvault = \"none.vault\"\n\
         [[agent]]\nname = \"doer\"\n[[agent.behaviours]]\nkind = \"tasks\"\nallow = [\"*\"]\n\
         types.chat = {{ executor = \"command\", program = \"sh\" }}\n\
         types.render = {{ executor = \"command\", program = \"sh\" }}\n\
         types.local = {{ executor = \"command\", program = \"sh\" }}\n"
    );
    std::fs::write(world.path("agents.toml"), text).unwrap();
    world
}

const CLUSTER: &str = "[cluster]\ndatabase = \"postgresql://agentry@127.0.0.1:1/agentry\"\n";
const TASKS: &str = "[tasks]\non_workers = [\"chat\", \"render\"]\n";

#[test]
fn what_a_worker_cannot_do_is_told_by_name() {
    let full = world(CLUSTER, TASKS);
    let no_cluster = world("", "");
    let no_types = world(CLUSTER, "");
    let cases: &[(&World, &[&str], ExitCode, &str)] = &[
        (&no_cluster, &[], ExitCode::Config, "no [cluster] table"),
        (&no_types, &[], ExitCode::Config, "`tasks.on_workers` of"),
        (
            &full,
            &["--kinds", "chta"],
            ExitCode::Usage,
            "no behaviour of agents.toml executes tasks of type \"chta\"; did you mean `chat`?",
        ),
        (
            &full,
            &["--kinds", "chat,local"],
            ExitCode::Usage,
            "the hosts run tasks of type \"local\" themselves",
        ),
        (
            &full,
            &["--kinds", "chat", "--concurrency", "render=2"],
            ExitCode::Usage,
            "--concurrency: this worker takes no tasks of type \"render\"",
        ),
        (
            &full,
            &["--concurrency", "chat=0"],
            ExitCode::Usage,
            "a count from 1 to 1024",
        ),
    ];
    for (world, arguments, code, words) in cases {
        let run = world.run(&[&["worker"], *arguments].concat());
        assert_eq!(run.code, *code as i32, "{run:#?}");
        assert!(run.err.contains(words), "{words}: {run:#?}");
    }
}

#[test]
fn a_worker_waits_for_the_database_and_can_be_stopped() {
    let world = world(CLUSTER, TASKS);
    let mut child = world
        .command(&["worker", "--concurrency", "chat=2"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut log, &mut line).unwrap();
    assert!(
        line.contains("waiting for the cluster's database"),
        "{line}"
    );
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
