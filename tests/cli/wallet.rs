//! `wallet` on keystore files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::{PASSWORD, Run, World, mode, vectors};

#[test]
fn a_wallet_is_created_shown_renamed_and_deleted() {
    let world = World::new();
    let made = world.wallet_json(&["create", "alice"]);
    let address = made["address"].as_str().unwrap().to_owned();
    assert!(address.starts_with("ait1"), "{made}");
    assert_eq!(mode(&world.path("keys")), 0o700);
    assert_eq!(mode(&world.path("keys/alice.json")), 0o600);

    let listed = world.wallet_json(&["list"]);
    assert_eq!(listed["wallets"][0]["name"], "alice");
    assert_eq!(listed["damaged"], serde_json::json!([]));
    let shown = world.wallet_json(&["show", "alice", "--unlock"]);
    assert_eq!(
        (&shown["address"], &shown["unlocked"]),
        (&made["address"], &true.into())
    );
    assert_eq!(shown["address_hex"], made["address"]);

    world.wallet(&["rename", "alice", "bob"]).good();
    assert!(!world.path("keys/alice.json").exists());
    assert_eq!(
        world.wallet_json(&["show", "bob"])["address"],
        made["address"]
    );

    world
        .wallet(&["export", "bob", "--output", "copy.json"])
        .good();
    assert_eq!(mode(&world.path("copy.json")), 0o600);
    world
        .wallet(&["export", "bob", "--output", "copy.json"])
        .failed(73, "never overwritten");

    world.wallet(&["delete", "bob"]).failed(64, "--yes");
    world.wallet(&["delete", "bob", "--yes"]).good();
    let empty = world.wallet(&["list"]);
    assert!(
        empty.good().out.contains("agentry wallet create"),
        "{empty:?}"
    );

    world.wallet(&["import", "carol", "copy.json"]).good();
    assert_eq!(
        world.wallet_json(&["show", "carol", "--unlock"])["address"],
        address.as_str()
    );
}

#[test]
fn the_node_form_of_an_address_can_be_chosen() {
    let world = World::new();
    let made = world.wallet_json(&["create", "a", "--address-form", "bech32"]);
    let shown = world.wallet_json(&["show", "a", "--unlock"]);
    assert_eq!(shown["address_bech32"], made["address"]);
    assert_eq!(shown["address"], made["address"]);
}

#[test]
fn nothing_is_overwritten() {
    let world = World::new();
    world.wallet(&["create", "a"]).good();
    world.wallet(&["create", "b"]).good();
    let before = fs::read(world.path("keys/a.json")).unwrap();
    world.wallet(&["create", "a"]).failed(73, "already exists");
    world
        .wallet(&["rename", "b", "a"])
        .failed(73, "already exists");
    world
        .wallet(&["import", "a", "keys/b.json"])
        .failed(73, "already exists");
    assert_eq!(fs::read(world.path("keys/a.json")).unwrap(), before);
    assert!(world.path("keys/b.json").exists());
}

#[test]
fn a_wrong_password_is_denied() {
    let world = World::new();
    world.wallet(&["create", "a"]).good();
    for arguments in [
        &["show", "a", "--unlock", "--password-file", "wrong"][..],
        &["export", "a", "--password-file", "wrong"],
        &["import", "b", "keys/a.json", "--password-file", "wrong"],
        &["pack", "vault", "--password-file", "wrong"],
    ] {
        world.wallet(arguments).failed(77, "wrong password");
    }
    assert!(!world.path("keys/b.json").exists() && !world.path("vault").exists());
}

#[test]
fn a_missing_wallet_is_named_with_those_that_exist() {
    let world = World::new();
    world
        .wallet(&["show", "alice"])
        .failed(66, "agentry wallet create");
    world.wallet(&["create", "alice"]).good();
    let run = world.wallet(&["show", "alcie"]);
    run.failed(66, "did you mean `alice`")
        .failed(66, "there are: alice");
    world
        .wallet(&["delete", "bob", "--yes"])
        .failed(66, "no wallet \"bob\"");
    world
        .wallet(&["import", "b", "nowhere.json"])
        .failed(66, "nowhere.json");
}

#[test]
fn a_damaged_file_is_named_and_hides_no_other() {
    let world = World::new();
    world.wallet(&["create", "good"]).good();
    let text = fs::read_to_string(world.path("keys/good.json")).unwrap();
    let damages = [
        ("empty", String::new()),
        ("json", "{".to_owned()),
        ("form", "{}".to_owned()),
        ("nonce", text.replace("\"nonce\"", "\"nonse\"")),
        (
            "key",
            text.replace("\"public_key\": \"", "\"public_key\": \"zz"),
        ),
        ("large", " ".repeat(1 << 17)),
    ];
    for (name, text) in &damages {
        fs::write(world.path(&format!("keys/{name}.json")), text).unwrap();
        world
            .wallet(&["show", name])
            .failed(65, &format!("{name}.json is damaged"));
    }
    let listed = world.wallet_json(&["list"]);
    assert_eq!(listed["wallets"].as_array().unwrap().len(), 1);
    assert_eq!(listed["damaged"].as_array().unwrap().len(), damages.len());
    world.wallet(&["delete", "json", "--yes"]).good();
    assert!(!world.path("keys/json.json").exists());
}

#[test]
fn hidden_and_other_files_are_not_wallets() {
    let world = World::new();
    world.wallet(&["create", "a"]).good();
    for name in [".hidden.json", "notes.txt", ".password"] {
        world.private(&format!("keys/{name}"), "x");
    }
    fs::create_dir(world.path("keys/folder.json")).unwrap();
    let listed = world.wallet_json(&["list"]);
    assert_eq!(listed["wallets"].as_array().unwrap().len(), 1);
    assert_eq!(listed["damaged"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn names_are_not_paths() {
    let world = World::new();
    for name in ["../a", "a/b", ".a", "", "a b"] {
        world.wallet(&["create", name]).failed(64, "name");
        assert_eq!(world.wallet(&["show", name]).code, 64);
    }
    assert!(!world.path("a.json").exists());
}

#[test]
fn every_form_of_keystore_is_imported() {
    let world = World::new();
    let vectors = vectors("keystores.json");
    for (index, case) in vectors["cases"].as_array().unwrap().iter().enumerate() {
        let name = format!("w{index}");
        world.private("theirs.json", &case["keystore"].to_string());
        world.private("theirs.password", case["password"].as_str().unwrap());
        let source = ["--source-password-file", "theirs.password"];
        world
            .wallet(&[&["import", &name, "theirs.json"][..], &source].concat())
            .good();
        let shown = world.wallet_json(&["show", &name, "--unlock"]);
        assert_eq!(shown["public_key"], case["public_key"], "{case}");
        assert_eq!(shown["form"], "client");
    }
}

#[test]
fn a_keystore_that_states_a_name_is_imported_with_a_note() {
    let world = World::new();
    let vectors = vectors("keystores_named_address.json");
    let case = &vectors["cases"][0];
    world.private("theirs.json", &case["keystore"].to_string());
    // As AITBC's own scripts create it.
    world.private("theirs.password", "\n temp123 \n\n");
    let import = |name: &str, more: &[&str]| {
        let source = ["--source-password-file", "theirs.password"];
        world.wallet(&[&["import", name, "theirs.json"][..], &source, more].concat())
    };
    let out = import("text", &[]).good().out.clone();
    assert!(
        out.contains("aitbc1genesis") && out.contains("not an address"),
        "{out}"
    );
    let made = import("json", &["--json"]).json();
    assert_eq!(made["stated_name"], "aitbc1genesis");
    let hex = made["address"].as_str().unwrap().to_owned();
    let bech32 = import("bech32", &["--json", "--address-form", "bech32"]).json();
    let shown = world.wallet_json(&["show", "json"]);
    assert_eq!(shown["address_hex"], hex.as_str());
    assert_eq!(shown["address_bech32"], bech32["address"]);

    // Unchanged, in the folder.
    fs::copy(world.path("theirs.json"), world.path("keys/as-it-is.json")).unwrap();
    let shown = world.wallet_json(&["show", "as-it-is"]);
    assert_eq!(shown["address"], serde_json::Value::Null);
    assert_eq!(shown["stated_name"], "aitbc1genesis");
    let listed = world.wallet(&["list"]).good().out.clone();
    assert!(listed.contains("named aitbc1genesis"), "{listed}");
    let error = world.run(&["chain", "account", "as-it-is", "--keystore", "keys"]);
    error.failed(65, "aitbc1genesis").failed(65, "--unlock");
    world.private("theirs.password", "temp123");
    let unlocked = world.run(&[
        "wallet",
        "show",
        "as-it-is",
        "--unlock",
        "--json",
        "--keystore",
        "keys",
        "--password-file",
        "theirs.password",
    ]);
    assert_eq!(unlocked.json()["address"], hex.as_str());
}

#[test]
fn a_seed_is_imported_and_never_printed() {
    let world = World::new();
    let seed = "11".repeat(32);
    let arguments = [
        "wallet",
        "import",
        "a",
        "-",
        "--keystore",
        "keys",
        "--password-file",
        "password",
        "--json",
    ];
    let run = world.run_with_input(&arguments, format!("0x{seed}\n").as_bytes());
    let made = run.json();
    assert_eq!(
        made["address"],
        "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7"
    );
    for run in [
        world.wallet(&["show", "a", "--unlock"]),
        world.wallet(&["export", "a"]),
        world.wallet(&["list"]),
    ] {
        assert!(!run.good().out.contains(&seed[..32]), "{run:?}");
    }
    let kept = fs::read_to_string(world.path("keys/a.json")).unwrap();
    assert!(!kept.contains(&seed[..32]));
}

#[test]
fn passwords_come_from_files_and_the_environment() {
    let world = World::new();
    let create = |name: &str| world.command(&["wallet", "create", name, "--keystore", "keys"]);
    // No password is given, and there is no terminal.
    let output = create("a").output().unwrap();
    assert_eq!(output.status.code(), Some(77));
    assert!(String::from_utf8_lossy(&output.stderr).contains("AGENTRY_PASSWORD"));
    assert!(
        create("a")
            .env("AGENTRY_PASSWORD", PASSWORD)
            .output()
            .unwrap()
            .status
            .success()
    );
    world.wallet(&["show", "a", "--unlock"]).good();
    // The default location.
    world.private("keys/.password", &format!("{PASSWORD}\n"));
    world
        .run(&["wallet", "show", "a", "--unlock", "--keystore", "keys"])
        .good();
    // The option has priority.
    world
        .wallet(&["show", "a", "--unlock", "--password-file", "wrong"])
        .failed(77, "wrong");
    world
        .wallet(&["show", "a", "--unlock", "--password-file", "no"])
        .failed(66, "no");
}

#[test]
fn the_password_can_be_a_credential_of_systemd() {
    let world = World::new();
    world.wallet(&["create", "a"]).good();
    let show = |folder: &std::path::Path| {
        let mut command = world.command(&["wallet", "show", "a", "--unlock", "--keystore", "keys"]);
        Run::of(
            command
                .env("CREDENTIALS_DIRECTORY", folder)
                .output()
                .unwrap(),
        )
    };
    let folder = world.path("credentials");
    fs::create_dir(&folder).unwrap();
    show(&folder).failed(77, "no password is given");
    let file = world.private("credentials/agentry.password", &format!("{PASSWORD}\n"));
    show(&folder).good();
    // An access-control list gives it to the user of the service: its mask is shown as the group's.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
    let shown = show(&folder);
    assert_eq!(shown.good().err, "");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    show(&folder).failed(77, "every user");
}

#[test]
fn nothing_is_created_with_an_empty_password() {
    let world = World::new();
    world.private("none", "\n");
    world
        .wallet(&["create", "a", "--password-file", "none"])
        .failed(65, "the password is empty");
}

#[test]
fn a_password_that_everybody_can_read_is_refused() {
    let world = World::new();
    let path = world.private("public", PASSWORD);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let run = world.wallet(&["create", "a", "--password-file", "public"]);
    run.failed(77, "chmod 600 public");
}

#[test]
fn an_export_can_have_its_own_password() {
    let world = World::new();
    world.private("other", "another password");
    world.wallet(&["create", "a"]).good();
    let export = [
        "export",
        "a",
        "--output",
        "x.json",
        "--new-password-file",
        "other",
    ];
    world.wallet(&export).good();
    world
        .wallet(&["import", "b", "x.json"])
        .failed(77, "wrong password");
    let import = ["import", "b", "x.json", "--source-password-file", "other"];
    world.wallet(&import).good();
    world.wallet(&["show", "b", "--unlock"]).good();
}

#[test]
fn the_configuration_says_where_wallets_are() {
    let world = World::new();
    let text =
        "[chain]\nid = \"x\"\n[wallets]\nkeystore_dir = \"there\"\npassword_file = \"password\"\n";
    world.private("agents.toml", text);
    world.run(&["wallet", "create", "a"]).good();
    assert!(world.path("there/a.json").exists());
    world.private("agents.toml", "[chain]\nid = \"x\"\n");
    world.run(&["wallet", "show", "a"]).failed(78, "--keystore");
    world.private("agents.toml", "[chian]\n");
    world.run(&["wallet", "show", "a"]).failed(78, "chian");
    world
        .run(&["wallet", "show", "a", "--keystore", "there"])
        .good();
}

#[test]
fn a_wrong_password_of_an_imported_file_names_its_own_option() {
    let world = World::new();
    world.wallet(&["create", "a"]).good();
    world
        .wallet(&["export", "a", "--output", "theirs.json"])
        .good();
    let own_flag = [
        "import",
        "b",
        "theirs.json",
        "--source-password-file",
        "wrong",
    ];
    let run = world.wallet(&own_flag);
    run.failed(
        77,
        "wrong password for theirs.json: wrong contains a different one",
    );
    assert!(run.err.contains("--source-password-file"), "{run:#?}");
    assert!(!run.err.contains("AGENTRY_PASSWORD"), "{run:#?}");
    let shared = ["import", "b", "theirs.json", "--password-file", "wrong"];
    let run = world.wallet(&shared);
    run.failed(77, "--source-password-file names a file with the right one");
    assert!(!world.path("keys/b.json").exists());
}
