//! `wallet` on vaults, and many wallets at once.

use std::fs;

use crate::world::{World, mode};

fn names(listed: &serde_json::Value) -> Vec<&str> {
    let wallets = listed["wallets"].as_array().unwrap();
    wallets
        .iter()
        .map(|wallet| wallet["name"].as_str().unwrap())
        .collect()
}

#[test]
fn keystore_files_are_packed() {
    let world = World::new();
    let made = world.wallet_json(&["create", "w", "--count", "3"]);
    assert_eq!(names(&made), ["w-1", "w-2", "w-3"]);
    let packed = world.wallet_json(&["pack", "vault"]);
    assert_eq!(packed["wallets"], 3);
    assert_eq!(mode(&world.path("vault")), 0o600);
    assert!(world.path("keys/w-1.json").exists());
    let listed = world.wallet_json(&["list", "--vault", "vault"]);
    assert_eq!(names(&listed), ["w-1", "w-2", "w-3"]);
    assert_eq!(
        listed["wallets"][1]["address"],
        made["wallets"][1]["address"]
    );
    let shown = world.wallet_json(&["show", "w-2", "--unlock", "--vault", "vault"]);
    assert_eq!(shown["public_key"], made["wallets"][1]["public_key"]);
    world
        .wallet(&[
            "show",
            "w-2",
            "--unlock",
            "--vault",
            "vault",
            "--password-file",
            "wrong",
        ])
        .failed(77, "wrong password");
    world
        .wallet(&["pack", "vault"])
        .failed(73, "already exists");
}

#[test]
fn packing_with_a_wrong_password_names_the_files_and_writes_nothing() {
    let world = World::new();
    world.wallet(&["create", "a"]).good();
    world
        .wallet(&["create", "odd", "--password-file", "wrong"])
        .good();
    world.wallet(&["pack", "vault"]).failed(77, "odd");
    assert!(!world.path("vault").exists());
    world.wallet(&["pack", "vault", "a"]).good();
    world
        .wallet(&["pack", "other", "a", "nobody"])
        .failed(66, "nobody");
    assert!(!world.path("other").exists());
}

#[test]
fn a_vault_of_new_wallets_takes_one_derivation() {
    let world = World::new();
    let create = [
        "create",
        "w",
        "--count",
        "500",
        "--into-vault",
        "many.vault",
    ];
    let made = world.wallet_json(&create);
    assert_eq!(names(&made).len(), 500);
    assert_eq!(names(&made)[0], "w-001");
    assert!(!world.path("keys").exists());
    let show = ["show", "w-500", "--unlock", "--vault", "many.vault"];
    assert_eq!(
        world.wallet_json(&show)["address"],
        made["wallets"][499]["address"]
    );
    world.wallet(&create).failed(73, "already exists");
}

#[test]
fn a_vaults_wallets_are_renamed_deleted_and_exported() {
    let world = World::new();
    world
        .wallet(&["create", "w", "--count", "2", "--into-vault", "v"])
        .good();
    let in_vault = |arguments: &[&str]| world.wallet(&[arguments, &["--vault", "v"]].concat());
    let before = world.wallet_json(&["show", "w-1", "--vault", "v"]);
    in_vault(&["rename", "w-1", "w-2"]).failed(73, "w-2");
    in_vault(&["rename", "w-1", "first", "--password-file", "wrong"]).failed(77, "wrong password");
    in_vault(&["rename", "w-1", "first"]).good();
    let after = world.wallet_json(&["show", "first", "--unlock", "--vault", "v"]);
    assert_eq!(before["address"], after["address"]);
    in_vault(&["delete", "w-2", "--yes"]).good();
    assert_eq!(
        names(&world.wallet_json(&["list", "--vault", "v"])),
        ["first"]
    );
    assert_eq!(mode(&world.path("v")), 0o600);
    in_vault(&["export", "first", "--output", "first.json"]).good();
    world.wallet(&["import", "first", "first.json"]).good();
    assert_eq!(
        world.wallet_json(&["show", "first"])["address"],
        before["address"]
    );
    // Now both locations have it.
    let both = ["show", "first", "--vault", "v", "--keystore", "keys"];
    world.wallet(&both).failed(78, "both");
}

#[test]
fn a_damaged_vault_is_named() {
    let world = World::new();
    world
        .wallet(&["create", "w", "--count", "2", "--into-vault", "v"])
        .good();
    let text = fs::read_to_string(world.path("v")).unwrap();
    for damage in [
        String::new(),
        "{}".to_owned(),
        text.replacen("w-1", "w-3", 1),
    ] {
        fs::write(world.path("v"), damage).unwrap();
        let run = world.wallet(&["show", "w-3", "--unlock", "--vault", "v"]);
        run.failed(65, "v is damaged");
    }
    world
        .wallet(&["list", "--vault", "nowhere"])
        .failed(66, "nowhere");
}
