//! The laws of the store's test kit, over logs in PostgreSQL.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use agentry_cluster::{Database, Limits, PgLog, Settings};
use agentry_core::Commit;
use agentry_core::cluster::{Epoch, ShardId};
use agentry_store::testing::{Fault, TestLog, log_laws, store_laws};
use agentry_store::{Log, LogError, Mark, Position, Record, Waits};

use crate::{block, claim, server, shards};
use agentry_testbed::proxy::{Proxy, Way};
use agentry_testbed::until;

/// Short, so that the laws about logs that wait are.
const LIMITS: Limits = Limits {
    beat: Duration::from_millis(300),
    call: Duration::from_millis(300),
    bulk: Duration::from_secs(30),
};

/// Runs something on a thread that no runtime uses: the laws call logs from asynchronous code, too.
fn apart<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

/// A shard of its own, behind a link of its own.
struct Shard {
    id: ShardId,
    name: String,
    database: Database,
    linked: Settings,
    link: Arc<Proxy>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    /// A transaction that has inserted the next record, and is not committed.
    holder: Mutex<Option<tokio_postgres::Client>>,
}

impl Shard {
    fn next() -> Arc<dyn TestLog> {
        static CLUSTER: OnceLock<(Settings, Database)> = OnceLock::new();
        static NEXT: AtomicU16 = AtomicU16::new(0);
        apart(|| {
            let (settings, database) = CLUSTER.get_or_init(|| {
                let url = server().url(&server().database());
                let settings = Settings::new(&[url], None, None).unwrap();
                let database = block(Database::connect(&settings)).unwrap();
                block(database.init(shards(500))).unwrap();
                (settings, database)
            });
            let link = Arc::new(block(Proxy::start(server().port())));
            let url = server().url(settings.database());
            let url = url.replace(&server().port().to_string(), &link.port().to_string());
            let linked = Settings::new(&[url], None, None).unwrap();
            Arc::new(Self {
                id: ShardId(NEXT.fetch_add(1, Ordering::Relaxed)),
                name: settings.database().to_owned(),
                database: database.clone(),
                linked: linked.with_limits(LIMITS),
                link,
                faults: Arc::default(),
                holder: Mutex::default(),
            }) as Arc<dyn TestLog>
        })
    }

    fn run(&self, sql: &str) {
        server().psql(&self.name, &sql.replace("ID", &self.id.to_string()));
    }
}

impl TestLog for Shard {
    fn open(&self, waits: Waits) -> Result<Box<dyn Log>, LogError> {
        Ok(Box::new(Opened {
            log: Mutex::new(PgLog::open(&self.linked, self.id, waits)?),
            shard: self.id,
            epoch: None,
            database: self.database.clone(),
            link: Arc::clone(&self.link),
            faults: Arc::clone(&self.faults),
        }))
    }

    fn claim(&self) -> Option<(Epoch, Position)> {
        let claim = apart(|| block(claim(&self.database, self.id, 1)));
        Some((claim.epoch, Position(claim.head)))
    }

    fn lose(&self, fault: Fault) -> bool {
        self.faults.lock().unwrap().push_back(fault);
        true
    }

    /// An append waits for whoever has inserted its record first, and claims do not.
    fn hold(&self) -> bool {
        let url = server().url(&self.name);
        let sql = format!(
            "begin; insert into agentry.log \
             select id, head + 1, 1, '' from agentry.shard where id = {}",
            self.id
        );
        let client = apart(|| {
            block(async {
                let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
                let (client, connection) = connected.unwrap();
                tokio::spawn(connection);
                client.batch_execute(&sql).await.unwrap();
                client
            })
        });
        *self.holder.lock().unwrap() = Some(client);
        true
    }

    fn release(&self) {
        let client = self.holder.lock().unwrap().take().unwrap();
        apart(|| block(client.batch_execute("rollback"))).unwrap();
    }

    fn trim(&self, through: Position) -> bool {
        self.run(&format!(
            "delete from agentry.log where shard = ID and seq <= {through}"
        ));
        true
    }

    fn rewind(&self, to: Position) -> bool {
        self.run(&format!(
            "delete from agentry.log where shard = ID and seq > {to}"
        ));
        self.run(&format!(
            "update agentry.shard set head = {to} where id = ID"
        ));
        true
    }
}

/// The log as a host has it open, whose answers are lost on demand.
#[derive(Debug)]
struct Opened {
    log: Mutex<Box<dyn Log>>,
    shard: ShardId,
    epoch: Option<Epoch>,
    database: Database,
    link: Arc<Proxy>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

impl Opened {
    fn with<T: Send>(&self, run: impl FnOnce(&mut dyn Log) -> T + Send) -> T {
        apart(|| run(&mut **self.log.lock().unwrap()))
    }

    fn head(&self) -> u64 {
        let view = block(self.database.view()).unwrap();
        view.shard(self.shard).unwrap().head
    }

    /// Appends, and loses the answer.
    fn lose(&self, fault: Fault, group: &[&Commit]) -> Result<Mark, LogError> {
        let head = self.head();
        if fault.arrives {
            self.link.set(Way::HeldBack);
        } else {
            self.link.set(Way::Cut);
            until("the link is cut", || self.link.connected() == 0);
        }
        std::thread::scope(|scope| {
            let appended = scope.spawn(|| self.log.lock().unwrap().append(group));
            if fault.arrives {
                until("the append arrives", || self.head() > head);
            }
            if fault.is_claimed {
                block(claim(&self.database, self.shard, 2));
            }
            self.link.set(Way::Cut);
            self.link.set(Way::Open);
            appended.join().unwrap()
        })
    }
}

impl Log for Opened {
    fn append(&mut self, group: &[&Commit]) -> Result<Mark, LogError> {
        let fault = self
            .epoch
            .and_then(|_| self.faults.lock().unwrap().pop_front());
        let (Some(epoch), Some(fault)) = (self.epoch, fault) else {
            return self.with(|log| log.append(group));
        };
        // Only over a connection that is there, and under the last epoch, an append can arrive.
        self.with(|log| log.lead(epoch))?;
        apart(|| self.lose(fault, group))
    }

    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Record>, LogError> {
        // A fault breaks the link of all hosts. Stores look again then, and the laws do not.
        let mut read = None;
        until("the log can be read", || {
            let tried = self.with(|log| log.read(after, bytes));
            !matches!(read.insert(tried), Err(LogError::Unavailable(_)))
        });
        read.unwrap()
    }

    fn cut(&mut self, through: Position) -> Result<(), LogError> {
        self.with(|log| log.cut(through))
    }

    fn check(&self, mark: &Mark) -> Result<(), LogError> {
        self.with(|log| log.check(mark))
    }

    fn lead(&mut self, epoch: Epoch) -> Result<(), LogError> {
        self.epoch = Some(epoch);
        self.with(|log| log.lead(epoch))
    }
}

#[test]
fn a_log_in_postgresql_keeps_the_laws_of_logs() {
    log_laws(&Shard::next);
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_over_a_log_in_postgresql_keep_the_laws_of_stores() {
    store_laws(&Shard::next).await;
}
