//! `wallet` with keys of both types, and AITBC's files of August 2026.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::doctor::Report;
use crate::world::{Run, World, vectors};

const AUGUST: &str = "[chain]\nid = \"x\"\ndialect = \"aitbc-2026-08\"\n\
    rpc = \"http://127.0.0.1:1\"\n[wallets]\nkeystore_dir = \"keys\"\npassword_file = \"password\"\n";

/// The files of both pages of vectors, by their form.
fn files() -> Vec<(String, serde_json::Value)> {
    let (one, other) = (
        vectors("dialect_2026_08.json"),
        vectors("keystores_2026_08.json"),
    );
    let sections = [one["keystores"].clone(), other];
    let files = sections
        .iter()
        .flat_map(|section| section["files"].as_array().unwrap());
    files
        .map(|file| {
            (
                file["form"].as_str().unwrap().to_owned(),
                file["file"].clone(),
            )
        })
        .collect()
}

const ADDRESS: &str = "ait12b8facdb297c8439b404e59d2290f9906b1fdf9c";
const CHECKSUMMED: &str = "0x2b8faCdB297C8439B404e59D2290F9906b1FdF9c";

#[test]
fn new_wallets_get_the_key_type_of_the_chain() {
    let world = World::new();
    assert_eq!(world.wallet_json(&["create", "a"])["key_type"], "ed25519");
    world.private("agents.toml", AUGUST);
    let made = world.wallet_json(&["create", "b"]);
    assert_eq!(made["key_type"], "secp256k1");
    let shown = world.wallet_json(&["show", "b", "--unlock"]);
    assert_eq!(shown["key_type"], "secp256k1");
    assert_eq!(shown["address"], made["address"]);
    assert_eq!(shown["address_bech32"], serde_json::Value::Null);
    let spelled = shown["address_0x"].as_str().unwrap();
    assert_eq!(spelled.len(), 42);
    assert_eq!(shown["public_key"].as_str().unwrap().len(), 66);
    let text = world.wallet(&["show", "b"]).good().out.clone();
    assert!(
        text.contains(spelled) && text.contains("secp256k1"),
        "{text}"
    );
    let other = world.wallet_json(&["create", "c", "--key-type", "ed25519"]);
    assert_eq!(other["key_type"], "ed25519");
    world
        .wallet(&["create", "d", "--address-form", "bech32"])
        .failed(64, "secp256k1");
    let many = ["create", "e", "--count", "2", "--into-vault", "vault"];
    let many = world.wallet_json(&many);
    assert_eq!(many["wallets"][1]["key_type"], "secp256k1");
    // A vault holds both types.
    world.wallet(&["pack", "both", "a", "b"]).good();
    let listed = world.wallet_json(&["list", "--vault", "both"]);
    let types = [&listed["wallets"][0], &listed["wallets"][1]].map(|one| one["key_type"].clone());
    assert_eq!(types, ["ed25519", "secp256k1"]);
    let listed = world.wallet(&["list"]).good().out.clone();
    assert!(
        listed.contains("ed25519") && listed.contains("secp256k1"),
        "{listed}"
    );
}

#[test]
fn a_seed_becomes_a_key_of_the_type_that_was_asked_for() {
    let world = World::new();
    world.private(
        "seed",
        vectors("keystores_2026_08.json")["private_key"]
            .as_str()
            .unwrap(),
    );
    let made = world.wallet_json(&["import", "a", "seed", "--key-type", "secp256k1"]);
    assert_eq!(made["address"], ADDRESS);
    world.private("zero", &"0".repeat(64));
    world
        .wallet(&["import", "b", "zero", "--key-type", "secp256k1"])
        .failed(65, "no key of type secp256k1");
}

#[test]
fn every_file_of_aitbc_is_imported() {
    let world = World::new();
    let files = files();
    assert_eq!(files.len(), 6);
    world.private("theirs", "correct horse battery");
    for (index, (form, file)) in files.iter().enumerate() {
        let name = format!("w{index}");
        world.private("theirs.json", &file.to_string());
        let import = ["import", &name, "theirs.json"];
        let made = match form.contains("plain") {
            // Nobody is asked for a password of the file.
            true => world.wallet_json(&import),
            false => {
                world.wallet_json(&[&import[..], &["--source-password-file", "theirs"]].concat())
            }
        };
        assert_eq!(made["address"], ADDRESS, "{form}");
        assert_eq!(
            (&made["form"], &made["key_type"]),
            (&"client".into(), &"secp256k1".into())
        );
        let kept = fs::read_to_string(world.path(&format!("keys/{name}.json"))).unwrap();
        assert!(
            kept.contains(CHECKSUMMED) && !kept.contains("b73a7356"),
            "{form}: {kept}"
        );
        world.wallet(&["show", &name, "--unlock"]).good();
        let other = [&import[..], &["--key-type", "ed25519"]].concat();
        let other = other
            .iter()
            .map(|word| if *word == name { "other" } else { word });
        world
            .wallet(&other.collect::<Vec<_>>())
            .failed(64, "leave --key-type out");
    }
}

#[test]
fn a_wallet_of_the_command_line_is_exported() {
    let world = World::new();
    world.private("agents.toml", AUGUST);
    let made = world.wallet_json(&["create", "a"]);
    let export = ["export", "a", "--form", "cli", "--output", "theirs.json"];
    let exported = world.wallet_json(&export);
    assert_eq!(exported["address"], made["address"]);
    let text = fs::read_to_string(world.path("theirs.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["wallet_id"], "a");
    assert_eq!(file["private_key"]["iterations"], 600_000);
    assert!(
        file["created_at"].as_str().unwrap().ends_with("+00:00Z"),
        "{file}"
    );
    let again = world.wallet_json(&["import", "b", "theirs.json"]);
    assert_eq!(again["address"], made["address"]);
    fs::copy(world.path("theirs.json"), world.path("keys/c.json")).unwrap();
    assert_eq!(world.wallet_json(&["show", "c", "--unlock"])["form"], "cli");
    world.private("short", "seven77");
    world
        .wallet(&[
            "export",
            "a",
            "--form",
            "cli",
            "--new-password-file",
            "short",
        ])
        .failed(65, "8 characters");
}

#[test]
fn a_key_that_is_not_encrypted_is_used_with_a_warning_unless_everybody_can_read_it() {
    let world = World::new();
    let (_, plain) = files()
        .into_iter()
        .find(|(form, _)| form == "CLI wallet, plain")
        .unwrap();
    fs::create_dir(world.path("keys")).unwrap();
    let path = world.private("keys/one.json", &plain.to_string());
    let show = |more: &[&str]| {
        let show = ["wallet", "show", "one", "--unlock", "--keystore", "keys"];
        world.run(&[&show[..], more].concat())
    };
    // There is no password, and nobody is asked for one.
    let shown = show(&[]).good().out.clone();
    assert!(
        shown.contains("not encrypted") && shown.contains(CHECKSUMMED),
        "{shown}"
    );
    world.private(
        "plain.toml",
        &format!("{AUGUST}[[agent]]\nname = \"a\"\nwallet = \"one\"\n"),
    );
    let look = || Report::of(&world.run(&["-c", "plain.toml", "doctor", "--json"]));
    look().says(
        "wallet one",
        "warning",
        "not encrypted",
        "agentry wallet import",
    );
    // An export has a password of its own.
    let export = ["wallet", "export", "one", "--keystore", "keys"];
    let exported = world.run(&[&export[..], &["--new-password-file", "password"]].concat());
    assert!(!exported.good().out.contains("b73a7356"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    show(&[]).failed(77, "every user of this machine");
    look().says(
        "wallet one",
        "error",
        "every user of this machine",
        "chmod 600",
    );
}

#[test]
fn a_wallet_of_another_key_type_is_refused_by_name() {
    let world = World::new();
    world.wallet(&["create", "one"]).good();
    let agents = "[[agent]]\nname = \"a\"\nwallet = \"one\"\n";
    world.private("plain.toml", &format!("{AUGUST}{agents}"));
    let run =
        |arguments: &[&str]| -> Run { world.run(&[&["-c", "plain.toml"], arguments].concat()) };
    run(&["run"])
        .failed(78, "wallet \"one\" has a key of type ed25519")
        .failed(78, "agentry wallet create --key-type secp256k1")
        .failed(78, "is \"aitbc-2026-04\"");
    Report::of(&run(&["doctor", "--json"])).says(
        "wallet one",
        "error",
        "has a key of type ed25519",
        "agentry wallet create --key-type secp256k1",
    );
    // Also where no runtime hosts it, before the node is asked.
    let to = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A";
    run(&["agent", "message", "--wallet", "one", "--to", to, "ping"])
        .failed(78, "wallet \"one\" has a key of type ed25519");
    // In the other direction.
    world
        .wallet(&["create", "two", "--key-type", "secp256k1"])
        .good();
    let april = format!("{AUGUST}{agents}")
        .replace("-08", "-04")
        .replace("\"one\"", "\"two\"");
    world.private("plain.toml", &april);
    run(&["run"]).failed(78, "agentry wallet create --key-type ed25519");
}
