//! Agents take turns with their queued drafts.

use super::*;

#[test]
fn many_queued_drafts_of_one_agent_do_not_delay_another_agents_draft() {
    on_stage(async || {
        let mut stage = usual(&[100_000, 1_000]).await;
        stage.shared.catch_up = CatchUp::to(BlockHeight(7), OutboxId(0));
        let submitter = stage.submitter().await;
        let count = 3 * sign::PAGE;
        for index in 0..count {
            let draft = stage.draft(ONE, &format!("one/{index}"), Cause::Own);
            stage.send(&submitter, ONE, draft).await;
        }
        let draft = stage.draft(TWO, "two", Cause::Own);
        stage.send(&submitter, TWO, draft).await;
        stage
            .shared
            .catch_up
            .read(Some(BlockHeight(7)), false, false);
        let began = Instant::now();
        let rows = loop {
            let rows = stage.rows().await;
            if rows.iter().all(|row| row.state != "queued") {
                break rows;
            }
            assert!(began.elapsed() < PATIENCE, "drafts are still queued");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(rows.len(), count + 1);
        let prepared = |name: &str| {
            let of = rows.iter().filter(|row| row.agent == name);
            of.map(|row| row.prepared_at.unwrap()).collect::<Vec<_>>()
        };
        let (one, two) = (prepared("agent-1"), prepared("agent-2"));
        let before = one.iter().filter(|at| **at < two[0]).count();
        assert_eq!(before, 0, "it is among the first that are signed");
    });
}
