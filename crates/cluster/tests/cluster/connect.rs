//! Servers, passwords, TLS, and what errors say.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use agentry_cluster::{ClusterError, Database, Health, Limits, Settings};

use crate::{cluster, server, shards};
use agentry_testbed::postgres::Server;

const SECRET: &str = "correct horse@battery/staple?";
const WRITTEN: &str = "correct%20horse%40battery%2Fstaple%3F";

fn no_secret(text: &str) {
    for part in ["horse", "battery", "staple"] {
        assert!(!text.contains(part), "{text}");
    }
}

#[test]
fn a_url_that_cannot_be_read_is_refused_without_being_repeated() {
    let too_many = format!("postgresql://a:{WRITTEN}@h1,h2/d?port=1,2,3");
    for (url, what) in [
        ("mysql://a:horse@h/d", "does not begin with postgresql://"),
        ("postgresql://a:horse@/d", "names no host"),
        ("postgresql://h/d", "names no user"),
        ("postgresql://a:x@battery@h/d", "more than one @"),
        ("postgresql://a:horse@h:port/d", "cannot be read"),
        (
            "postgresql://a:horse@h/d?sslmode=sometimes",
            "cannot be read",
        ),
        (&*too_many, "number of ports"),
    ] {
        let urls = ["postgresql://a@h/d", url];
        let error = Settings::new(&urls, None, None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("number 2") && text.contains(what), "{text}");
        no_secret(&text);
        assert!(!error.is_transient());
    }
    let error = Settings::new(&[] as &[&str], None, None).unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
    let url =
        format!("postgresql://a:{WRITTEN}@h1:5433,h2/d?sslmode=verify-full&connect_timeout=3");
    let settings = Settings::new(&[&*url, "postgresql://a@[::1]/d"], None, None).unwrap();
    assert_eq!(
        settings.servers().collect::<Vec<_>>(),
        ["h1:5433", "h2:5432", "::1:5432"]
    );
    assert_eq!(settings.database(), "d");
    no_secret(&format!("{settings:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_comes_from_the_url_or_as_it_is_now_from_a_file() {
    let server = server();
    let name = server.database();
    let sql = format!(
        "create role secretive login password '{SECRET}'; grant all on database {name} to secretive"
    );
    server.psql("postgres", &sql);
    let url = |password: &str| {
        format!(
            "postgresql://secretive{password}@127.0.0.1:{}/{name}?sslmode=disable",
            server.port()
        )
    };
    let right = Settings::new(&[url(&format!(":{WRITTEN}"))], None, None).unwrap();
    let database = Database::connect(&right).await.unwrap();
    no_secret(&format!("{database:?}"));
    database.init(shards(2)).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let from_file = Settings::new(&[url("")], Some(&path), None).unwrap();
    let error = Database::connect(&from_file).await.unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    std::fs::write(&path, "battery").unwrap();
    let error = Database::connect(&from_file).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert!(error.to_string().contains("28P01"), "{error}");
    no_secret(&error.to_string());
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    Database::connect(&from_file)
        .await
        .unwrap()
        .layout()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_takes_writes_is_found_and_others_are_named() {
    let (settings, _) = cluster().await;
    let closed = "postgresql://a@127.0.0.1:1/d?sslmode=disable";
    let right = server().url(settings.database());
    // All in one URL, too.
    let in_one = right.replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:");
    for urls in [vec![closed, &right], vec![&in_one]] {
        let settings = Settings::new(&urls, None, None).unwrap();
        Database::connect(&settings)
            .await
            .unwrap()
            .layout()
            .await
            .unwrap();
    }
    let missing = server().url("missing");
    let read_only = format!("{right}&options=-c%20default_transaction_read_only%3Don");
    let settings = Settings::new(&[closed, &missing, &read_only], None, None).unwrap();
    let error = Database::connect(&settings).await.unwrap_err();
    let ClusterError::Unreachable { tried } = &error else {
        panic!("{error}");
    };
    for (one, what) in tried
        .iter()
        .zip(["onnection refused", "3D000", "takes no writes"])
    {
        assert!(one.why.contains(what), "{one}");
    }
    assert_eq!(
        tried.iter().map(|one| one.is_transient).collect::<Vec<_>>(),
        [true, false, true]
    );
    assert!(error.is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_whose_commits_do_not_wait_and_limits_of_the_server_are_overruled() {
    let (settings, _) = cluster().await;
    let url = format!(
        "{}&options=-c%20synchronous_commit%3Doff%20-c%20statement_timeout%3D50",
        server().url(settings.database())
    );
    let weak = Settings::new(&[url], None, None).unwrap();
    let database = Database::connect(&weak).await.unwrap();
    let health = database.check(None).await.unwrap();
    assert_eq!(health.synchronous_commit, "on");
    let limit = (health.timeouts[0].name.as_str(), health.timeouts[0].ms);
    assert_eq!(limit, ("statement_timeout", 50));
    let all = problems(&health);
    assert!(all.contains("statement_timeout = 50 ms"), "{all}");
    let url = format!(
        "{}&options=-c%20synchronous_commit%3Dremote_apply",
        server().url(settings.database())
    );
    let strong = Settings::new(&[url], None, None).unwrap();
    let database = Database::connect(&strong).await.unwrap();
    assert_eq!(
        database.check(None).await.unwrap().synchronous_commit,
        "remote_apply"
    );
}

fn tls(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cluster/tls")
        .join(name)
}

/// A server with a certificate for `localhost`, which an authority of the tests has signed.
fn encrypted() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Server::start(&[]);
        let read = |name| std::fs::read(tls(name)).unwrap();
        server.put_certificate(&read("server.pem"), &read("server.key"));
        server.stop();
        server.resume();
        server
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_used_if_there_is_any_and_always_verified() {
    let server = encrypted();
    let url = |host: &str, mode: &str| {
        format!(
            "postgresql://postgres@{host}:{}/postgres?{mode}",
            server.port()
        )
    };
    let root = tls("authority.pem");
    let root = Some(root.as_path());
    let is_encrypted = async |url: String, root| {
        let settings = Settings::new(&[url], None, root).unwrap();
        let database = Database::connect(&settings).await?;
        Ok::<_, ClusterError>(database.check(None).await.unwrap().is_encrypted)
    };
    assert!(
        is_encrypted(url("localhost", "sslmode=require"), root)
            .await
            .unwrap()
    );
    assert!(
        is_encrypted(url("localhost", "sslmode=verify-full"), root)
            .await
            .unwrap()
    );
    assert!(is_encrypted(url("localhost", ""), root).await.unwrap());
    let in_url = format!("sslrootcert={}", tls("authority.pem").display());
    assert!(is_encrypted(url("localhost", &in_url), None).await.unwrap());
    assert!(
        !is_encrypted(url("localhost", "sslmode=disable"), root)
            .await
            .unwrap()
    );
    // Another name, and an authority that nobody knows.
    for (host, root) in [("127.0.0.1", root), ("localhost", None)] {
        let error = is_encrypted(url(host, "sslmode=prefer"), root)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("certificate") && text.contains("sslmode=disable"),
            "{text}"
        );
        assert!(!error.is_transient(), "{text}");
    }
    // A server without TLS.
    let plain = crate::server()
        .url("postgres")
        .replace("disable", "require");
    let error = is_encrypted(plain, root).await.unwrap_err();
    assert!(
        error.to_string().contains("does not support TLS"),
        "{error}"
    );
    let error = Settings::new(&[url("localhost", "")], None, Some(&tls("server.key"))).unwrap_err();
    assert!(
        matches!(error, ClusterError::RootCertificate { .. }),
        "{error}"
    );
}

/// What is wrong with a server, one problem in each line.
fn problems(health: &Health) -> String {
    let all: Vec<_> = health.problems.iter().map(ToString::to_string).collect();
    all.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_lacks_is_named() {
    let (settings, database) = cluster().await;
    let health = database.check(None).await.unwrap();
    assert_eq!(health.layout.unwrap().shards, shards(4));
    let all = problems(&health);
    assert!(all.contains("synchronous_standby_names is empty"), "{all}");
    assert!(all.contains("fsync"), "{all}");
    let many = std::num::NonZeroU16::new(40);
    let all = problems(&database.check(many).await.unwrap());
    assert!(all.contains("max_connections"), "{all}");

    let sql = "create role guest login; grant usage on schema agentry to guest; grant select on all tables in schema agentry to guest";
    server().psql(settings.database(), sql);
    let url = server()
        .url(settings.database())
        .replace("postgres@", "guest@");
    let guest = Settings::new(&[url], None, None)
        .unwrap()
        .with_limits(Limits::default());
    let guest = Database::connect(&guest).await.unwrap();
    let all = problems(&guest.check(None).await.unwrap());
    assert!(
        all.contains("guest lacks rights") && all.contains("log: INSERT"),
        "{all}"
    );
    let shard = agentry_core::cluster::ShardId(0);
    let error = guest
        .release(shard, agentry_core::cluster::Epoch(1))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("42501") && error.to_string().contains("Grant"),
        "{error}"
    );
    assert!(!error.is_transient() && !error.is_unknown());
    assert_eq!(
        guest.init(shards(4)).await.unwrap(),
        database.layout().await.unwrap()
    );
}
