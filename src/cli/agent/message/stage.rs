//! How a stage of a message is printed.

use super::super::super::output::printable_lines;
use crate::ops::delivery::report::DeliveryStage;

/// A new line below a stage, aligned with its text.
const BELOW: &str = "\n          ";

/// The line printed for people.
pub(super) fn line(stage: &DeliveryStage, to: &str) -> String {
    let after = {
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        let seconds = stage.after_ms as f64 / 1000.0;
        format!("after {seconds:.2} s")
    };
    let transaction = stage.transaction.as_deref().unwrap_or("-");
    let detail = stage
        .detail
        .as_deref()
        .map(|text| printable_lines(text, 500));
    let name = stage.stage;
    let when = match (stage.by, stage.height) {
        ("node", _) => format!("by the node {after}"),
        ("recipient", Some(height)) if name == "accepted" => {
            format!("by the recipient in block {height} {after}")
        }
        (_, Some(height)) => format!("in block {height} {after}"),
        (_, None) => after,
    };
    let mut line = match name {
        "sent" => format!("sent      {transaction} to {to}"),
        "resent" => format!("resent    {transaction} {when}"),
        _ => format!("{name:<9} {when}"),
    };
    if let Some(detail) = detail {
        line.push_str(": ");
        // A text of several lines begins on its own line.
        if detail.contains('\n') {
            line.push_str(BELOW);
        }
        line.push_str(&detail.replace('\n', BELOW));
    }
    if let Some(unverified) = stage
        .authenticity
        .as_ref()
        .filter(|word| *word != "verified")
    {
        line.push_str(&format!(" ({unverified})"));
    }
    if name == "answered" {
        line.push_str(BELOW);
        line.push_str(transaction);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_printable() {
        let answered = DeliveryStage {
            stage: "answered",
            by: "recipient",
            after_ms: 1_250,
            transaction: Some("0x12".to_owned()),
            height: Some(8),
            authenticity: Some("unverified".to_owned()),
            detail: Some("po\u{1b}ng".to_owned()),
        };
        assert_eq!(
            line(&answered, "ait1"),
            "answered  in block 8 after 1.25 s: po\\u{1b}ng (unverified)\n          0x12"
        );
    }
}
