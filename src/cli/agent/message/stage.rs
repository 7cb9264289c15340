//! A stage of a message, and how it is printed.

use serde::Serialize;

use super::super::super::output::printable_lines;

/// A new line below a stage, aligned with its text.
const BELOW: &str = "\n          ";

/// Something that has happened to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Stage {
    /// One of `sent`, `resent`, `accepted`, `mined`, `received`, `done`, `failed`, `rejected`,
    /// `expired`, `unacknowledged`, `unsent`, `progress`, `answered`.
    pub(super) stage: &'static str,
    /// Who reports it: `runtime`, `node`, `chain`, `recipient`.
    pub(super) by: &'static str,
    /// Time since the start of the command.
    pub(super) after_ms: u64,
    /// The transaction that was sent, or that carries the reply.
    pub(super) transaction: Option<String>,
    /// The block that holds it.
    pub(super) height: Option<u64>,
    /// For a reply, whether its sender is verified.
    pub(super) authenticity: Option<String>,
    /// Further details.
    pub(super) detail: Option<String>,
}

impl Stage {
    /// The line printed for people.
    pub(super) fn line(&self, to: &str) -> String {
        let after = {
            #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
            let seconds = self.after_ms as f64 / 1000.0;
            format!("after {seconds:.2} s")
        };
        let transaction = self.transaction.as_deref().unwrap_or("-");
        let detail = self
            .detail
            .as_deref()
            .map(|text| printable_lines(text, 500));
        let stage = self.stage;
        let when = match (self.by, self.height) {
            ("node", _) => format!("by the node {after}"),
            ("recipient", Some(height)) if stage == "accepted" => {
                format!("by the recipient in block {height} {after}")
            }
            (_, Some(height)) => format!("in block {height} {after}"),
            (_, None) => after,
        };
        let mut line = match stage {
            "sent" => format!("sent      {transaction} to {to}"),
            "resent" => format!("resent    {transaction} {when}"),
            _ => format!("{stage:<9} {when}"),
        };
        if let Some(detail) = detail {
            line.push_str(": ");
            // A text of several lines begins on its own line.
            if detail.contains('\n') {
                line.push_str(BELOW);
            }
            line.push_str(&detail.replace('\n', BELOW));
        }
        if let Some(unverified) = self
            .authenticity
            .as_ref()
            .filter(|word| *word != "verified")
        {
            line.push_str(&format!(" ({unverified})"));
        }
        if stage == "answered" {
            line.push_str(BELOW);
            line.push_str(transaction);
        }
        line
    }

    /// Whether both report the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.stage == other.stage
            && self.by == other.by
            && self.transaction == other.transaction
            && (self.by != "chain" || self.height == other.height)
    }
}
