//! The queries of the runtime cost what they find, however much the store holds.

use agentry_core::commit::{QueueKind, QueueTarget, Selection};
use agentry_core::rows::{EventId, InboxId, TaskId};
use agentry_protocol::{Timestamp, TransactionHash};

use super::*;
use crate::list::pick::Part;
use crate::reader::PREPARED;
use crate::{list, schema};

/// What may be read as a whole: the indexes of open and dead rows, and tables that stay small or that a
/// start reads into memory.
const SMALL: [&str; 13] = [
    "inbox_waiting",
    "inbox_dead",
    "event_dead",
    "outbox_failed",
    "outbox_mined",
    "event_due",
    "outbox_open",
    "receipt_due",
    "task_open",
    "SCAN (subquery",
    "SCAN agent",
    "SCAN card",
    "SCAN spending",
];

fn run_each_query(db: &Reader) -> Result<(), StoreError> {
    let (agent, hash) = (AgentId(1), TransactionHash::of(b"any"));
    let address = Address::from_chain("ait1any").unwrap();
    identity(db)?;
    noted_time(db)?;
    unmined(db, Timestamp::new(1))?;
    agents(db)?;
    agents_after(db, "", 9)?;
    agent_at(db, 1)?;
    super::agent(db, &address)?;
    question(db, agent, hash)?;
    last_outbox(db)?;
    gaps(db, BlockHeight(1))?;
    spending(db, 1)?;
    spent(db, agent, 1)?;
    spenders(db, agent, 1, 9)?;
    day_tokens(db, agent, 1)?;
    standing(db, agent)?;
    task(db, TaskId(1))?;
    message_at(db, InboxId(1))?;
    waiting_message(db, 1)?;
    waiting_transaction(db, 1)?;
    origin_of(db, agent, hash)?;
    origin_beginning(db, "control/")?;
    cards(db)?;
    card(db, &address)?;
    renewal(db, agent)?;
    announcement(db, EventId(1))?;
    surveyed(db)?;
    pushes(db, &"any".parse().unwrap())?;
    list::task::row_of(db, "any")?;
    list::task::asked_at(db, 1)?;
    list::task::carriers(db, 1)?;
    list::task::answers(db, 1, "any")?;
    list::load::loads(db, 1)?;
    list::load::waiting_at(db, 1)?;
    list::load::oldest_waiting_at(db)?;
    list::load::dead_reasons(db, 9)?;
    list::load::spending_by_day(db, Some(1), 1)?;
    list::story::caused(db, 1)?;
    list::story::roots(db, 1)?;
    list::story::resends(db, 1)?;
    list::story::answers(db, "any", &hash.to_string())?;
    list::pick::open_tasks(db, None, None, 9)?;
    let of_agent = Selection {
        agent: Some("any".to_owned()),
        ..Selection::default()
    };
    for selection in [&Selection::default(), &of_agent] {
        for queue in [QueueKind::Inbox, QueueKind::Outbox, QueueKind::Events] {
            for part in [Part::Open, Part::Dead, Part::All] {
                list::pick::pick(db, queue, part, selection, None, 9)?;
            }
        }
        list::pick::count_dead(db, selection)?;
    }
    let selection = Selection::default();
    dead_letters(db, &QueueTarget::Matching(selection), InboxId(1), 9)?;
    Ok(())
}

#[test]
fn no_query_reads_a_table_that_grows_as_a_whole() {
    let db = Reader(schema::in_memory().unwrap());
    db.0.execute_batch(
        "INSERT INTO agent (id, address, name, start_height) VALUES (1, 'ait1any', 'a', 0)",
    )
    .unwrap();
    run_each_query(&db).unwrap();
    let prepared = PREPARED.take();
    assert!(prepared.len() > 20, "{}", prepared.len());
    for sql in prepared {
        let mut plan = db.0.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut steps = plan.raw_query();
        while let Some(step) = steps.next().unwrap() {
            let step: String = step.get(3).unwrap();
            let is_small = SMALL.iter().any(|small| step.contains(small));
            // An aggregate such as max(id) goes through the table from its end until a row is found.
            let is_walk = step.starts_with("SEARCH")
                && !step.contains("USING")
                && !step.contains("(subquery")
                && sql.contains("WHERE");
            let is_scan = step.starts_with("SCAN") || is_walk;
            assert!(!is_scan || is_small, "{step}: {sql}");
        }
    }
}
