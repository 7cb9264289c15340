//! A runtime in a process of its own, with a configuration and wallets that the test chooses.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentry::wallet::{WalletStore, ensure_password_file, password};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{
    ChainId, Dialect, Header, MessageId, Number, Payload, Timestamp, Transaction, compose,
};
use agentry_testbed::binary;
use agentry_testbed::http;
use agentry_testbed::process::Process;
use agentry_testbed::wallet::{address, address_in, key, seed_in};

/// A node on which the wallets 1 to 3 have money.
pub(crate) fn devnet(dir: &Path) -> Devnet {
    Devnet::start(DevnetConfig {
        dir: dir.join("node"),
        block_time: Duration::from_millis(100),
        allocations: (1..=3).map(|byte| (address(byte), 1_000_000)).collect(),
        ..DevnetConfig::default()
    })
    .unwrap()
}

/// Posts a text from the wallet 3 to the wallet 1, with a trace if there is one.
pub(crate) fn say(devnet: &Devnet, text: &str, trace: Option<&str>, nonce: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_millis();
    let mut header = Header {
        id: Some(MessageId::generate(Timestamp::new(now.try_into().unwrap())).unwrap()),
        key: Some(key(3).public_key()),
        ..Header::default()
    };
    header.trail.trace = trace.map(|trace| trace.parse().unwrap());
    let signed = Transaction {
        dialect: Dialect::April2026,
        from: address(3),
        to: address(1),
        amount: Number::from(0_u64),
        fee: Number::from(10_u64),
        nonce: Number::from(nonce),
        payload: compose(&Payload::Text(text.to_owned()), Some(&header)).unwrap(),
        chain_id: "ait-devnet".parse::<ChainId>().unwrap(),
    }
    .sign(&key(3));
    let (status, answer) = http::post(devnet.port(), "/rpc/transaction", &signed.body()).unwrap();
    assert_eq!(status, 200, "{answer}");
}

/// Writes agents.toml with these tables, and keystores of the wallets `w1` and so on, for a node of April
/// 2026.
pub(crate) fn configure(dir: &Path, node: &str, wallets: &[u8], tables: &str) {
    configure_in(Dialect::April2026, dir, node, wallets, tables);
}

/// As [`configure`], for a node of a dialect.
pub(crate) fn configure_in(dialect: Dialect, dir: &Path, node: &str, wallets: &[u8], tables: &str) {
    let keystore = dir.join("keystore");
    ensure_password_file(&keystore.join(".password")).unwrap();
    let secret = password::read(&keystore.join(".password")).unwrap();
    let store = WalletStore::new(Some(keystore), None);
    for byte in wallets {
        let (name, seed) = (format!("w{byte}"), seed_in(dialect, *byte));
        let (name, address) = (name.parse().unwrap(), address_in(dialect, *byte));
        store.add(&name, &seed, &address, &secret).unwrap();
    }
    let text = format!(
        "[chain]\nid = \"ait-devnet\"\ndialect = \"{dialect}\"\nrpc = \"{node}\"\nstart = 0\n\
         [http]\nlisten = \"127.0.0.1:0\"\n\
         [wallets]\nkeystore_dir = \"keystore\"\npassword_file = \"keystore/.password\"\n{tables}"
    );
    std::fs::write(dir.join("agents.toml"), text).unwrap();
}

/// The output of a command, which must succeed.
pub(crate) fn ask(dir: &Path, arguments: &[&str]) -> serde_json::Value {
    binary::ask(&mut binary::configured(dir, arguments))
}

/// Starts a runtime with the configuration in a folder, and waits until it hosts its agents.
pub(crate) fn start(dir: &Path, variables: &[(&str, &str)]) -> Process {
    let mut command = binary::configured(dir, &["run"]);
    command.envs(variables.iter().copied());
    Process::run(command, &dir.join("log"))
}
