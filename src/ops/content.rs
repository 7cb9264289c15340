//! The content of a message, for people and programs.

use agentry_protocol::message::{self, Envelope};
use agentry_protocol::{Header, Json, Payload};

/// The content of a message.
#[derive(Clone, Debug)]
pub struct MessageContent {
    /// The text; for a command, its JSON without the header; `None` if it is sealed and was not
    /// opened.
    pub text: Option<String>,
    /// The name of the command, if it is one and can be read.
    pub cmd: Option<String>,
    /// The header.
    pub header: Option<Header>,
    /// Why its header cannot be read.
    pub damage: Option<String>,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Why the sealed content was not opened.
    pub closed: Option<String>,
}

impl MessageContent {
    /// Parses a transaction's payload.
    pub fn read(payload: &Json) -> Self {
        let Envelope {
            payload: read,
            header,
        } = Envelope::read(payload);
        let cmd = cmd(&read);
        let sealed = cmd.as_deref() == Some("SEALED");
        Self {
            text: (!sealed).then(|| text(&read)),
            cmd,
            damage: header.as_ref().err().map(ToString::to_string),
            header: header.ok().flatten(),
            sealed,
            closed: None,
        }
    }

    /// Sets the content of a sealed message, or the reason why it was not opened.
    pub fn open(&mut self, opened: Result<&Payload, &str>) {
        match opened {
            Ok(payload) => {
                self.text = Some(text(payload));
                self.cmd = cmd(payload);
            }
            Err(reason) => self.closed = Some(reason.to_owned()),
        }
    }
}

fn cmd(payload: &Payload) -> Option<String> {
    match payload {
        Payload::Command(command) => Some(command.cmd.clone()),
        Payload::Text(_) | Payload::Opaque(_) => None,
    }
}

fn text(payload: &Payload) -> String {
    match payload {
        Payload::Text(text) => text.clone(),
        Payload::Command(command) => match message::compose(payload, None) {
            Ok(written) => written
                .root()
                .as_str()
                .map_or_else(|| written.to_compact(), str::to_owned),
            // A payload that cannot be sent in this form is shown unchanged.
            Err(_) => command.body.to_compact(),
        },
        Payload::Opaque(json) => json.to_compact(),
    }
}

#[cfg(test)]
mod tests {
    use agentry_protocol::Limits;

    use super::*;

    fn read(json: &str) -> MessageContent {
        MessageContent::read(&Json::parse(json.as_bytes(), Limits::default()).unwrap())
    }

    #[test]
    fn the_header_is_no_part_of_what_is_said() {
        let said = read(r#"{"text":"ping","msg":{"v":1,"thread":"t"}}"#);
        assert_eq!(said.text.as_deref(), Some("ping"));
        assert_eq!(said.header.unwrap().thread.unwrap().as_str(), "t");
        let said = read(r#""{\"cmd\":\"PING\",\"msg\":{\"v\":1}}""#);
        assert_eq!(said.text.as_deref(), Some(r#"{"cmd":"PING"}"#));
        assert_eq!(said.cmd.as_deref(), Some("PING"));
    }

    #[test]
    fn what_is_damaged_or_sealed_is_told_as_that() {
        let said = read(r#"{"text":"ping","msg":{"v":1,"exp":"soon"}}"#);
        assert!(said.damage.unwrap().contains("exp"));
        let mut said = read(r#"{"cmd":"SEALED","enc":"00","ct":"00"}"#);
        assert_eq!((said.sealed, &said.text), (true, &None));
        said.open(Err("another's"));
        assert_eq!(said.closed.as_deref(), Some("another's"));
        said.open(Ok(&Payload::Text("a secret".to_owned())));
        assert_eq!(said.text.as_deref(), Some("a secret"));
        assert_eq!(read("[1, 2]").text.as_deref(), Some("[1,2]"));
    }
}
