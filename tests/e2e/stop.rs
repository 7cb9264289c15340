//! SIGTERM: what the runtime finishes, and what it leaves for the next start.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use agentry::cli::ExitCode;

use agentry_testbed::dice::Dice;
use agentry_testbed::world::{Setup, World};
use agentry_testbed::{http, until};

/// Stops and starts during a steady flow of pings: each stop succeeds, and nothing is lost.
#[test]
fn stopping_under_load() {
    let test = "stopping_under_load";
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(test, &mut dice, Setup::default()));
    let flow = world.flow(dice.fork(), Duration::from_millis(20));
    for _ in 0..5 {
        let runtime = world.run();
        let answered = world.audit().answered;
        until("pings are answered", || world.audit().answered > answered);
        std::thread::sleep(dice.up_to(Duration::from_millis(300)));
        runtime.stop();
    }
    flow.stop();
    let runtime = world.run();
    world.finish(runtime, &HashSet::new());
}

/// A node that accepts connections and never answers.
fn black_hole() -> (u16, TcpListener) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    (listener.local_addr().unwrap().port(), listener)
}

/// Waits for the first POST and does not answer it. A node answers the requests before it, such as
/// which chain it serves.
fn first_post(listener: &TcpListener, node: u16) -> TcpStream {
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&mut stream).read_line(&mut line).unwrap();
        if line.starts_with("POST") {
            return stream;
        }
        let path = line.split(' ').nth(1).unwrap();
        let (_, answer) = http::get(node, path).unwrap();
        // The node closes the connection after its answer, and so does this proxy.
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

/// After the first signal, the runtime finishes the work in progress; after the second, it does not.
#[test]
fn a_second_signal_stops_at_once() {
    let test = "a_second_signal_stops_at_once";
    let mut dice = Dice::new(test);
    let (port, listener) = black_hole();
    let setup = Setup {
        submit: Some(port),
        ..Setup::default()
    };
    let world = Arc::new(World::new(test, &mut dice, setup));
    // Without new blocks the chain counts as slow, and a POST has a long timeout.
    world.ping(0);
    until("the ping is mined", || world.audit().unmined.is_empty());
    world.chain.pause();
    let mut runtime = world.run();
    let _post = first_post(&listener, world.chain.port());
    runtime.terminate();
    until("it is stopping", || {
        runtime
            .log()
            .contains("stopping: finishing the work in progress")
    });
    assert_eq!(
        runtime.ended(),
        None,
        "it did not wait for the POST in progress"
    );
    runtime.terminate();
    let status = runtime.wait("the runtime exits after the second signal");
    assert_eq!(status.code(), Some(ExitCode::Temporary as i32), "{status}");
    // The POST may have reached a node or not. The next run finds out, and answers once.
    world.chain.resume();
    drop(listener);
    let text = std::fs::read_to_string(world.config()).unwrap();
    let node = world.chain.port();
    std::fs::write(
        world.config(),
        text.replace(&format!(":{port}\""), &format!(":{node}\"")),
    )
    .unwrap();
    let runtime = world.run();
    world.finish(runtime, &HashSet::new());
}

/// The node is down: stopping does not wait for it.
#[test]
fn stopping_while_the_node_is_down() {
    let test = "stopping_while_the_node_is_down";
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(test, &mut dice, Setup::default()));
    let mut runtime = world.spawn(&["--stop-limit", "3s"], &[]);
    assert!(runtime.ready());
    let flow = world.flow(dice.fork(), Duration::from_millis(20));
    until("pings are answered", || world.audit().answered > 3);
    world.chain.set(&["hang"]);
    world.chain.await_blocks(world.chain.head(), 3);
    runtime.stop();
    world.chain.clear(&["hang"]);
    flow.stop();
    let runtime = world.run();
    world.finish(runtime, &HashSet::new());
}

/// The node was never up: a runtime that waits for it still stops.
#[test]
fn stopping_before_it_has_started() {
    let test = "stopping_before_it_has_started";
    let mut dice = Dice::new(test);
    let world = Arc::new(World::new(
        test,
        &mut dice,
        Setup {
            senders: 1,
            ..Setup::default()
        },
    ));
    world.chain.stop_node();
    std::fs::remove_file(world.chain.db()).unwrap();
    let mut runtime = world.spawn(&[], &[]);
    until("the runtime waits for the node", || {
        runtime.log().contains("waiting for the node")
    });
    runtime.terminate();
    let status = runtime.wait("the runtime stops");
    assert_eq!(status.code(), Some(0), "{status}");
}
