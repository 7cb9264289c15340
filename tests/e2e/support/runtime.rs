//! A runtime in a process of its own, with a configuration and wallets that the test chooses.

use std::path::Path;
use std::time::Duration;

use agentry::wallet::{WalletStore, ensure_password_file, password};
use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::Seed;
use agentry_testbed::binary;
use agentry_testbed::process::Process;
use agentry_testbed::wallet::address;

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

/// Writes agents.toml with these tables, and keystores of the wallets `w1` and so on.
pub(crate) fn configure(dir: &Path, node: &str, wallets: &[u8], tables: &str) {
    let keystore = dir.join("keystore");
    ensure_password_file(&keystore.join(".password")).unwrap();
    let secret = password::read(&keystore.join(".password")).unwrap();
    let store = WalletStore::new(Some(keystore), None);
    for byte in wallets {
        let (name, seed) = (format!("w{byte}"), Seed::from_bytes([*byte; 32]));
        let name = name.parse().unwrap();
        store.add(&name, &seed, &address(*byte), &secret).unwrap();
    }
    let text = format!(
        "[chain]\nid = \"ait-devnet\"\nrpc = \"{node}\"\nstart = 0\n\
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
