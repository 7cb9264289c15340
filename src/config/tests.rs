//! Whole files, through every layer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentry_chain::Start;
use agentry_protocol::{Address, Amount, BlockHeight, PublicKey, Seed};

use super::*;

fn overlay(flags: &[(&str, &str)]) -> Overlay {
    Overlay {
        environment: Some(HashMap::new()),
        flags: flags
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect(),
    }
}

fn load_with(text: &str, overlay: &Overlay) -> Result<Config, ConfigError> {
    let source = Source::Text {
        path: PathBuf::from("/etc/agentry/agents.toml"),
        text: text.into(),
    };
    Config::load(&source, overlay, &agentry_behaviours::builtins())
}

fn load(text: &str) -> Result<Config, ConfigError> {
    load_with(text, &overlay(&[]))
}

/// The issues as `line:column text`.
fn issues(text: &str) -> Vec<String> {
    let Err(ConfigError::Invalid(issues)) = load(text) else {
        panic!("no issues in {text}")
    };
    let show = |issue: &ConfigIssue| match &issue.origin {
        Origin::File { line, column } => format!("{line}:{column} {}", issue.text),
        other => format!("{} {}", other.describe(""), issue.text),
    };
    issues.list.iter().map(show).collect()
}

const SMALL: &str = "[chain]\nid = \"ait-devnet\"\n";

#[test]
fn the_built_in_configuration_is_valid() {
    let config = load(BUILT_IN).unwrap();
    assert_eq!(config.chain.id.as_str(), "ait-devnet");
    assert_eq!(config.chain.submit, NodeUrl::local(8006));
    assert_eq!(config.chain.start, Start::Head);
    assert_eq!(
        config.wallets.keystore_dir.as_deref(),
        Some(Path::new("/etc/agentry/keystore"))
    );
    let devnet = config.devnet.unwrap();
    assert_eq!(
        (devnet.port, devnet.block_time),
        (8006, Duration::from_millis(500))
    );
    let agents: Vec<_> = config
        .agents
        .iter()
        .map(|agent| (agent.name.as_str(), &*agent.wallet, agent.behaviours.len()))
        .collect();
    assert_eq!(
        agents,
        [("ponger", "temp-agent2", 1), ("pinger", "temp-agent1", 0)]
    );
    assert_eq!(config.agents[0].behaviours[0].name, "pong");
}

#[test]
fn the_built_in_configuration_states_the_defaults() {
    // The file must not state defaults that differ from the code's.
    let stated = load(BUILT_IN).unwrap();
    let bare = load(SMALL).unwrap();
    for setting in &bare.settings {
        let Some(other) = stated
            .settings
            .iter()
            .find(|other| other.key == setting.key)
        else {
            panic!("{} is not in the built-in file's settings", setting.key);
        };
        if !setting.key.starts_with("wallets.") {
            assert_eq!(setting.value, other.value, "{}", setting.key);
        }
    }
}

#[test]
fn one_line_is_enough() {
    let config = load(SMALL).unwrap();
    assert_eq!(config.chain.rpc, NodeUrl::local(8006));
    assert_eq!(
        (config.chain.confirmations, config.chain.final_depth),
        (0, 10)
    );
    assert_eq!(
        config.store.retention,
        Duration::from_secs(30 * 24 * 60 * 60)
    );
    assert_eq!(config.store.path, Path::new("/etc/agentry/agentry.db"));
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8070");
    assert!(config.devnet.is_none() && config.agents.is_empty() && config.fleets.is_empty());
    assert_eq!((config.defaults.fee.0, config.defaults.attempts), (10, 5));
}

#[test]
fn what_a_table_needs_must_be_set() {
    // A host that is to be one of several must not run alone.
    let found = issues(&format!("{SMALL}\n[cluster]\nhost = \"a\"\n"));
    let [found] = &found[..] else {
        panic!("{found:#?}")
    };
    assert!(
        found.contains("`cluster.database` must be set: the PostgreSQL database of all hosts"),
        "{found}"
    );
}

#[test]
fn the_chain_must_be_named() {
    assert_eq!(issues("[store]\npath = \"x\"\n").len(), 1);
    assert!(issues("\n[chain]\n")[0].starts_with("2:2 `chain.id` must be set"));
    assert_eq!(
        load_with("", &overlay(&[("chain.id", "x")]))
            .unwrap()
            .chain
            .id
            .as_str(),
        "x"
    );
}

#[test]
fn every_issue_is_reported_at_its_location() {
    let text = r#"[chain]
id = "no spaces allowed"
rpc = "127.0.0.1:8006"
final_depth = 0
nonce = "sequentail"
start = "yesterday"
[store]
retention = "30"
pth = "x"
[http]
listen = "0.0.0.0:8070"
[wallets]
keystore_dir = 7
vault = "v"
[colours]
[[agent]]
name = "a"
wallet = "w"
behaviours = [{ kind = "pang" }, { kind = "pong", triger = "x", reply = 5 }]
[[agent]]
name = "a"
wallet = "w"
fee = -1
behaviours = [{ kind = "pong" }, { kind = "pong" }]
[[agent]]
wallet = "../secret"
"#;
    let found = issues(text);
    let wanted = [
        "2:6 `chain.id`",
        "3:7 `chain.rpc`",
        "4:15 `chain.final_depth` must be a whole number from 1",
        "5:9 `chain.nonce` must be",
        "6:9 `chain.start` must be",
        "8:13 `store.retention`",
        "9:1 unknown key `pth` in [store]; did you mean `path`?; known keys: path, retention",
        "11:10 `http.listen` 0.0.0.0:8070",
        "13:16 `wallets.keystore_dir`",
        "15:2 unknown table `colours`",
        "19:24 unknown kind \"pang\" of a behaviour of agent \"a\"; did you mean `pong`?",
        "19:51 behaviour \"pong\" of agent \"a\", `triger`: unknown field `triger`",
        "19:65 behaviour \"pong\" of agent \"a\", `reply`: invalid type",
        "21:8 two agents are named \"a\" (the first in line 17)",
        "22:10 agents \"a\" and \"a\" have the same wallet",
        "23:7 `agent.a.fee` must be a whole number from 0",
        "24:34 agent \"a\" has two behaviours named \"pong\"",
        "25:1 this agent has no `name`",
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(
            found.starts_with(wanted),
            "found:  {found}\nwanted: {wanted}"
        );
    }
    assert!(
        found[11].contains("did you mean `trigger`?"),
        "{}",
        found[11]
    );
}

#[test]
fn wallet_names_are_not_paths() {
    let text = format!(
        "{SMALL}[wallets]\nkeystore_dir = \"k\"\n[[agent]]\nname = \"a\"\nwallet = \"../x\"\n"
    );
    assert!(issues(&text)[0].starts_with("7:10 `wallet`"));
}

#[test]
fn agents_need_a_place_for_their_wallets() {
    let found = issues(&format!("{SMALL}[[agent]]\nname = \"a\"\n"));
    assert!(
        found.len() == 1 && found[0].contains("`wallets.keystore_dir`"),
        "{found:?}"
    );
}

#[test]
fn keys_of_another_release_are_unknown() {
    let found = issues(&format!("{SMALL}[defaults]\nalias = 1\n"));
    assert!(
        found[0].contains("unknown key `alias` in [defaults]"),
        "{found:?}"
    );
}

#[test]
fn a_broken_line_does_not_hide_the_others() {
    let found = issues("[chain]\nid = \"x\"\nrpc = http://x\nnonce = \"none\"\n");
    assert!(
        found.iter().any(|text| text.starts_with("3:")),
        "{found:#?}"
    );
    assert!(
        found
            .iter()
            .any(|text| text.starts_with("4:9 `chain.nonce`")),
        "{found:#?}"
    );
    assert!(
        found.iter().all(|text| !text.contains("must be set")),
        "{found:#?}"
    );
}

#[test]
fn agents_inherit_from_defaults() {
    let text = format!(
        "{SMALL}[wallets]\nvault = \"v\"\n[defaults]\nfee = 3\nattempts = 2\n\
         [[agent]]\nname = \"a\"\nattempts = 9\ntime_limit = \"1m\"\n"
    );
    let config = load_with(&text, &overlay(&[("defaults.fee", "4")])).unwrap();
    let agent = &config.agents[0].common;
    assert_eq!(
        (agent.fee.0, agent.attempts, agent.time_limit),
        (4, 9, Duration::from_secs(60))
    );
    let origin = |key: &str| {
        config
            .settings
            .iter()
            .find(|setting| setting.key == key)
            .unwrap()
            .origin
            .describe("f")
    };
    assert_eq!(origin("agent.a.fee"), "flag --set defaults.fee");
    assert_eq!(origin("agent.a.attempts"), "f:10:12");
    assert_eq!(origin("chain.nonce"), "default");
}

fn origin_of(config: &Config, key: &str) -> String {
    let setting = config.settings.iter().find(|setting| setting.key == key);
    setting
        .unwrap_or_else(|| panic!("{key} is not shown"))
        .origin
        .describe("f")
}

#[test]
fn limits_are_inherited_and_overridden() {
    let config = load(SMALL).unwrap();
    let minute = Rate {
        count: 60,
        per: Duration::from_secs(60),
    };
    assert_eq!(config.defaults.per_sender_rate, Some(minute));
    assert_eq!(config.defaults.max_wait, Duration::from_secs(3_600));
    assert_eq!(config.defaults.daily_budget.0, 100_000);
    assert_eq!(config.tasks.concurrency, 4);
    assert_eq!(config.directory.from, None);

    let text = format!(
        "{SMALL}[wallets]\nvault = \"v\"\n[directory]\nfrom = 7\n[tasks]\nconcurrency = 9\n\
         [defaults]\nper_sender_rate = \"unlimited\"\ndaily_budget = 0\n\
         [[agent]]\nname = \"a\"\n\
         [[agent]]\nname = \"b\"\nper_sender_rate = \"5/s\"\nmax_wait = \"10m\"\n\
         daily_budget = 9_223_372_036_854_775_807\n\
         [[fleet]]\nname = \"f\"\nvault = \"w\"\ndaily_budget = 1\n"
    );
    let config = load(&text).unwrap();
    let [a, b] = config.agents.as_slice() else {
        panic!("{:?}", config.agents)
    };
    assert_eq!(
        (a.common.per_sender_rate, a.common.daily_budget.0),
        (None, 0)
    );
    let second = Duration::from_secs(1);
    assert_eq!(
        b.common.per_sender_rate,
        Some(Rate {
            count: 5,
            per: second
        })
    );
    assert_eq!(b.common.max_wait, Duration::from_secs(600));
    assert_eq!(b.common.daily_budget, Amount::MAX);
    let of_fleet = config.fleets[0].agent("w").common;
    assert_eq!(
        (of_fleet.per_sender_rate, of_fleet.daily_budget.0),
        (None, 1)
    );
    assert_eq!(config.directory.from, Some(BlockHeight(7)));
    assert_eq!(config.tasks.concurrency, 9);
    assert_eq!(origin_of(&config, "agent.a.daily_budget"), "f:11:16");
    assert_eq!(origin_of(&config, "agent.b.daily_budget"), "f:18:16");
    assert_eq!(origin_of(&config, "agent.a.max_wait"), "default");
    let outside = overlay(&[
        ("defaults.per_sender_rate", "9/h"),
        ("directory.from", "3"),
        ("tasks.concurrency", "2"),
    ]);
    let config = load_with(&text, &outside).unwrap();
    assert_eq!(
        config.agents[0].common.per_sender_rate.unwrap().to_string(),
        "9/h"
    );
    assert_eq!(config.directory.from, Some(BlockHeight(3)));
    assert_eq!(config.tasks.concurrency, 2);
}

#[test]
fn types_of_tasks_that_no_worker_could_run_are_reported() {
    let text = |tables: &str| {
        format!(
            "[chain]\nid = \"x\"\n[wallets]\nvault = \"v\"\n[tasks]\non_workers = [\"chat\"]\n{tables}"
        )
    };
    let cluster = "[cluster]\ndatabase = \"postgresql://a@127.0.0.1/a\"\n";
    let agent = |behaviour: &str| format!("[[agent]]\nname = \"a\"\nbehaviours = [{behaviour}]\n");
    let tasks = "{ kind = \"tasks\", allow = [\"*\"], types.chat = { executor = \"command\", program = \"/bin/true\" } }";
    let right = load(&text(&format!("{cluster}{}", agent(tasks)))).unwrap();
    assert_eq!(right.tasks.on_workers, ["chat"]);
    let alone = issues(&text(&agent(tasks)));
    assert!(
        alone[0].starts_with("6:14 `tasks.on_workers` needs a [cluster] table"),
        "{alone:#?}"
    );
    let unknown = issues(&text(&format!("{cluster}{}", agent("{ kind = \"pong\" }"))));
    assert!(
        unknown[0].starts_with("6:14 `tasks.on_workers` names \"chat\", and no behaviour"),
        "{unknown:#?}"
    );
}

#[test]
fn a_coordinator_is_asked_only_if_one_is_configured() {
    assert_eq!(load(SMALL).unwrap().coordinator, None);
    let text = |keys: &str| {
        format!(
            "[chain]\nid = \"x\"\n[wallets]\nvault = \"v\"\n[coordinator]\n{keys}\n\
             [[agent]]\nname = \"a\"\nbehaviours = []\n[[fleet]]\nname = \"f\"\nvault = \"w\"\nbehaviours = []\n"
        )
    };
    let url = "url = \"http://me:hunter2@127.0.0.1:8107/\"";
    let all = load(&text(url)).unwrap().coordinator.unwrap();
    assert!(all.announces("a") && all.announces("f/one"));
    assert_eq!((all.requests, all.agent_type.as_str()), (80, "worker"));
    let named = load(&text(&format!(
        "{url}\nagents = [\"f\", \"g/x\"]\nread_every = \"1h\""
    )));
    let named = named.unwrap_err().to_string();
    assert!(named.contains("names \"g/x\", and no agent"), "{named}");
    let fleet = load(&text(&format!("{url}\nagents = [\"f\", \"f2/x\"]")));
    assert!(fleet.is_err());
    let fleet = load(&text(&format!("{url}\nagents = [\"f\"]"))).unwrap();
    let coordinator = fleet.coordinator.unwrap();
    assert!(coordinator.announces("f/one") && !coordinator.announces("a"));
    for shown in [format!("{coordinator:?}"), format!("{:?}", fleet.settings)] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(issues(&text(""))[0].contains("`coordinator.url` must be set"));
    let wrong = issues(&text(
        "url = \"ftp://hunter2\"\nrequests = 100\nread_every = \"0s\"\nagent_type = \"boss\"\ncapabilities = [\"a b\"]",
    ));
    for (found, part) in wrong.iter().zip([
        "6:7 `coordinator.url` has the scheme",
        "7:12 `coordinator.requests` must be a whole number from 10 to 80",
        "8:14 `coordinator.read_every` must be 1s to 1day",
        "9:14 `coordinator.agent_type` must be one of worker,",
        "10:17 `coordinator.capabilities` \"a b\": a capability is",
    ]) {
        assert!(found.starts_with(part), "{found}");
    }
    assert_eq!(wrong.len(), 5, "{wrong:#?}");
}

#[test]
fn wrong_limits_are_reported_at_their_locations() {
    let found = issues(
        r#"[chain]
id = "x"
[directory]
from = -1
[tasks]
concurrency = 0
[defaults]
per_sender_rate = 60
max_wait = "0s"
daily_budgt = 5
[wallets]
vault = "v"
[[agent]]
name = "a"
per_sender_rate = "60/fortnight"
daily_budget = "much"
max_wiat = "1h"
"#,
    );
    let wanted = [
        "4:8 `directory.from` must be a whole number from 0",
        "6:15 `tasks.concurrency` must be a whole number from 1 to 1024",
        "8:19 `defaults.per_sender_rate` must be a rate such as \"60/min\"",
        "9:12 `defaults.max_wait` must be 1s to",
        "10:1 unknown key `daily_budgt` in [defaults]; did you mean `daily_budget`?",
        "15:19 `agent.a.per_sender_rate` \"60/fortnight\" is not a rate",
        "16:16 `agent.a.daily_budget` must be a whole number",
        "17:1 unknown key `max_wiat` in agent \"a\"; did you mean `max_wait`?",
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(
            found.starts_with(wanted),
            "found:  {found}\nwanted: {wanted}"
        );
    }
}

#[test]
fn wrong_schedules_are_reported_at_their_locations() {
    let found = issues(
        r#"[chain]
id = "x"
[wallets]
vault = "v"
[[agent]]
name = "a"
behaviours = [
{ kind = "pong", schedules = [{ every = "1m" }] },
{ kind = "process", name = "b", program = "sh", schedules = { every = "1m" }, directory = "/" },
{ kind = "process", name = "c", program = "sh", schedules = [
{ every = "0s" },
{ every = "1m", cron = "@daily" },
{ every = "1m", zone = "UTC" },
{ cron = "61 * * * *" },
{ cron = "@daily", zone = "Europe/Berln" },
{ cron = "@daily", missed = "later" },
{ cron = "@daily", evry = "1m" },
"1m",
{ name = "x", every = "1m" },
{ name = "x", every = "2m" },
], directory = "/" },
]
"#,
    );
    let wanted = [
        "8:30 behaviour \"pong\" of agent \"a\": a behaviour of this kind takes no `schedules`",
        "9:61 `schedules` of behaviour \"b\" of agent \"a\" must be a list of tables",
        "11:1 behaviour \"c\" of agent \"a\", schedule \"0s\": a schedule's period must be 1s to",
        "12:1 a schedule of behaviour \"c\" of agent \"a\" must have one of `every` and `cron`",
        "13:1 a schedule of behaviour \"c\" of agent \"a\" has a `zone`, which only `cron` takes",
        "14:1 behaviour \"c\" of agent \"a\", schedule \"61 * * * *\": cron expression `61 * * * *`, character 1",
        "15:1 behaviour \"c\" of agent \"a\", schedule \"@daily\": time zone `Europe/Berln` is unknown",
        "16:1 `missed` of a schedule of behaviour \"c\" of agent \"a\" must be \"skip\", \"once\" or \"all\"",
        "17:20 unknown key `evry` in a schedule of behaviour \"c\" of agent \"a\"; did you mean `every`?",
        "18:1 a schedule of behaviour \"c\" of agent \"a\" must be a table",
        "20:1 behaviour \"c\" of agent \"a\" has two schedules named \"x\"",
    ];
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(
            found.starts_with(wanted),
            "found:  {found}\nwanted: {wanted}"
        );
    }
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
}

/// A valid public key and its address.
fn somebody(seed: u8) -> (PublicKey, Address) {
    let key = Seed::from_bytes([seed; 32]).public_key();
    (key, Address::from_public_key(&key))
}

#[test]
fn contacts_are_names_for_addresses() {
    let (key, address) = somebody(1);
    let (_, other) = somebody(2);
    let sealing = "cd".repeat(32);
    let text = format!(
        "{SMALL}[[contact]]\nname = \"adviser\"\naddress = \"{address}\"\n\
         [[contact]]\nname = \"clerk\"\naddress = \"{other}\"\npublic_key = \"{key}\"\n\
         enc_key = \"{sealing}\"\n"
    );
    let config = load(&text).unwrap();
    let [adviser, clerk] = config.contacts.as_slice() else {
        panic!("{:?}", config.contacts)
    };
    assert_eq!(adviser.name.as_str(), "adviser");
    assert_eq!(adviser.address, address);
    assert_eq!((adviser.public_key, adviser.enc_key), (None, None));
    // The operator vouches for a key that the address is not made from.
    assert_eq!(clerk.public_key, Some(key));
    assert_eq!(clerk.enc_key.unwrap().to_string(), sealing);
    assert_eq!(origin_of(&config, "contact.clerk.public_key"), "f:9:14");
}

#[test]
fn wrong_contacts_are_reported_at_their_locations() {
    let (_, address) = somebody(1);
    let (_, other) = somebody(2);
    let text = format!(
        r#"[chain]
id = "x"
[wallets]
vault = "v"
[[agent]]
name = "ponger"
[[contact]]
name = "ponger"
address = "{address}"
[[contact]]
name = "ait1x"
address = "nowhere"
[[contact]]
name = "a"
address = "{address}"
public_key = "00"
enc_key = 5
[[contact]]
name = "a"
addres = "x"
[[contact]]
name = "a"
address = "{other}"
"#
    );
    let found = issues(&text);
    let wanted = [
        "8:8 an agent is also named \"ponger\"",
        "11:8 `contact.name` \"ait1x\"",
        "12:11 `contact.?.address` \"nowhere\"",
        "15:11 contacts \"ponger\" and \"a\" have the same address",
        "16:14 `contact.a.public_key` \"00\"",
        "17:11 `contact.a.enc_key` must be a text",
        "18:1 this contact has no `address`",
        "20:1 unknown key `addres` in [[contact]]; did you mean `address`?",
        "22:8 two contacts are named \"a\" (the first in line 14)",
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(
            found.starts_with(wanted),
            "found:  {found}\nwanted: {wanted}"
        );
    }
    let outside = overlay(&[("contact.name", "x")]);
    let Err(ConfigError::Invalid(issues)) = load_with(SMALL, &outside) else {
        panic!("contacts cannot be set from outside")
    };
    assert!(issues.list[0].text.contains("only in the file"), "{issues}");
}

#[test]
fn fleets_have_one_place() {
    let fleet = |keys: &str| format!("{SMALL}[[fleet]]\nname = \"f\"\n{keys}");
    let config = load(&fleet(
        "vault = \"v\"\nbehaviours = [{ kind = \"pong\" }]\n",
    ))
    .unwrap();
    assert_eq!(
        config.fleets[0].wallets,
        FleetWallets::Vault("/etc/agentry/v".into())
    );
    assert_eq!(config.fleets[0].agent("w").name, "f/w");
    assert!(issues(&fleet(""))[0].contains("must have a `keystore_dir` or `vault`"));
    let both = "vault = \"v\"\nkeystore_dir = \"k\"\n";
    assert!(issues(&fleet(both))[0].contains("only one of"));
    let twice = format!(
        "{}[[fleet]]\nname = \"g\"\nvault = \"v\"\n",
        fleet("vault = \"v\"\n")
    );
    assert!(issues(&twice)[0].contains("host the same wallets"));
}

#[test]
fn the_embedded_node_is_the_one_that_is_read() {
    let devnet = |keys: &str| format!("{SMALL}{keys}");
    let config = load(&devnet("[devnet]\nport = 9000\n")).unwrap();
    assert_eq!(config.chain.rpc, NodeUrl::local(9000));
    assert_eq!(config.chain.submit, NodeUrl::local(9000));
    for key in ["chain.rpc", "chain.submit"] {
        let setting = config.settings.iter().find(|setting| setting.key == key);
        assert_eq!(setting.unwrap().value, "http://127.0.0.1:9000", "{key}");
    }
    let config = load(&devnet("rpc = \"http://127.0.0.1:9001\"\n[devnet]\n")).unwrap();
    assert_eq!(config.devnet.unwrap().port, 9001);
    let other = devnet("rpc = \"http://127.0.0.1:9001\"\n[devnet]\nport = 9002\n");
    assert!(issues(&other)[0].contains("is not the port of `chain.rpc`"));
    for (submit, is_embedded) in [(9000, true), (8006, false)] {
        let text = format!("submit = \"http://127.0.0.1:{submit}\"\n[devnet]\nport = 9000\n");
        assert_eq!(load(&devnet(&text)).is_ok(), is_embedded, "{submit}");
    }
    let remote = devnet("rpc = \"http://10.0.0.1:8006\"\n[devnet]\n");
    assert!(issues(&remote)[0].contains("is not the embedded node"));
    assert!(
        load(&devnet(
            "rpc = \"http://127.0.0.1:1\"\n[devnet]\nport = 0\n"
        ))
        .is_ok()
    );
}

#[test]
fn faults_are_known_by_name() {
    let config = load(&format!(
        "{SMALL}[devnet]\nfaults = [\"late-rows\", \"hang=0.5\"]\n"
    ))
    .unwrap();
    assert_eq!(config.devnet.unwrap().faults.len(), 2);
    let found = issues(&format!(
        "{SMALL}[devnet]\nfaults = [\"late-rows\", \"rain\"]\n"
    ));
    assert!(
        found.len() == 1 && found[0].starts_with("4:24 `devnet.faults` \"rain\""),
        "{found:?}"
    );
    let flags = overlay(&[("devnet.faults", "late-rows, no-forward")]);
    assert_eq!(
        load_with(SMALL, &flags)
            .unwrap()
            .devnet
            .unwrap()
            .faults
            .len(),
        2
    );
}

#[test]
fn a_start_is_the_head_or_a_height() {
    let start = |text: &str| {
        load(&format!("{SMALL}start = {text}\n"))
            .unwrap()
            .chain
            .start
    };
    assert_eq!(start("\"head\""), Start::Head);
    assert_eq!(start("17"), Start::Height(BlockHeight(17)));
    let flags = overlay(&[("chain.start", "17")]);
    assert_eq!(
        load_with(SMALL, &flags).unwrap().chain.start,
        Start::Height(BlockHeight(17))
    );
}

#[test]
fn shown_values_hold_no_secret() {
    let text = format!("{SMALL}rpc = \"http://user:hunter2@node:1\"\nsubmit = \"ftp://hunter2\"\n");
    let shown = issues(&text).join("\n");
    assert!(!shown.contains("hunter2"), "{shown}");
    let config = load(&format!("{SMALL}rpc = \"http://user:hunter2@node:1\"\n")).unwrap();
    assert_eq!(&*config.chain.rpc, "http://user:hunter2@node:1");
    let shown = serde_json::to_string(&config.settings).unwrap();
    assert!(
        !shown.contains("hunter2") && shown.contains("user:***"),
        "{shown}"
    );
    assert_eq!(masked(&config.chain.rpc), "http://user:***@node:1");
}

#[test]
fn a_missing_file_is_named() {
    let source = Source::File("/nowhere/agents.toml".into());
    let error = Config::load(&source, &overlay(&[]), &agentry_behaviours::builtins()).unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/agents.toml"),
        "{error}"
    );
}
