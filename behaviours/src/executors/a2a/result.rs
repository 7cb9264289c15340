//! The result of a job: what the agent's artifacts hold.

use agentry_sdk::TaskOutput;

use super::failure::Failure;
use super::wire::{Artifact, Part};

/// What a part or an artifact costs besides its contents: bounds how many there can be.
const OVERHEAD: usize = 64;

/// The artifacts of a task so far, within a limit.
#[derive(Debug)]
pub(super) struct Artifacts {
    found: Vec<Artifact>,
    bytes: usize,
    limit: usize,
}

impl Artifacts {
    /// None yet; their contents may have this many bytes.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            found: Vec::new(),
            bytes: 0,
            limit,
        }
    }

    /// The length of what has come, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Replaces all of them.
    pub(super) fn replace(&mut self, artifacts: Vec<Artifact>) -> Result<(), Failure> {
        self.found.clear();
        self.bytes = 0;
        artifacts
            .into_iter()
            .try_for_each(|artifact| self.take(artifact, false))
    }

    /// Takes an artifact, or more parts of one.
    pub(super) fn take(&mut self, artifact: Artifact, append: bool) -> Result<(), Failure> {
        let known = self
            .found
            .iter_mut()
            .find(|known| known.artifact_id == artifact.artifact_id);
        let added: usize = artifact.parts.iter().map(length).sum();
        match known {
            Some(known) => {
                if !append {
                    let old: usize = known.parts.iter().map(length).sum();
                    self.bytes = self.bytes.saturating_sub(old);
                    known.parts.clear();
                }
                known.parts.extend(artifact.parts);
            }
            None => {
                self.bytes = self.bytes.saturating_add(OVERHEAD);
                self.found.push(artifact);
            }
        }
        self.bytes = self.bytes.saturating_add(added);
        // What is kept besides the text is bounded, too.
        if self.bytes > self.limit.saturating_mul(2).saturating_add(64 << 10) {
            return Err(Failure::TooLong(self.limit));
        }
        Ok(())
    }

    /// The result; none, if there are no artifacts.
    pub(super) fn output(self) -> Result<Option<TaskOutput>, Failure> {
        let limit = self.limit;
        let parts = self.found.into_iter().map(|artifact| artifact.parts);
        let parts: Vec<Vec<Part>> = parts.filter(|parts| !parts.is_empty()).collect();
        output(&parts, limit)
    }
}

/// The result that these groups of parts are; none, if there are none. Texts of one kind are joined:
/// the pieces of a group as they are, groups with an empty line between them. A single JSON value is
/// the result, too. Anything else is a list of the parts, in JSON.
pub(super) fn output(groups: &[Vec<Part>], limit: usize) -> Result<Option<TaskOutput>, Failure> {
    let parts = || groups.iter().flatten();
    let Some(first) = parts().next() else {
        return Ok(None);
    };
    let of_one_kind = |part: &Part| part.text.is_some() && part.media_type == first.media_type;
    let (text, media_type) = if parts().all(of_one_kind) {
        let joined = |group: &Vec<Part>| -> String {
            group
                .iter()
                .filter_map(|part| part.text.as_deref())
                .collect()
        };
        let groups: Vec<String> = groups.iter().map(joined).collect();
        let kind = match first.media_type.as_str() {
            "" | "text/plain" => "text/plain; charset=utf-8",
            other => other,
        };
        (groups.join("\n\n"), kind.to_owned())
    } else {
        let json = "application/json".to_owned();
        match (&first.data, parts().count()) {
            (Some(data), 1) => (data.to_string(), json),
            _ => (parts_as_json(parts())?, json),
        }
    };
    if text.len() > limit {
        return Err(Failure::TooLong(limit));
    }
    Ok((!text.is_empty()).then(|| TaskOutput {
        text,
        media_type: is_media_type(&media_type).then_some(media_type),
        incomplete: None,
    }))
}

fn parts_as_json<'a>(parts: impl Iterator<Item = &'a Part>) -> Result<String, Failure> {
    let parts: Vec<&Part> = parts.collect();
    serde_json::to_string(&parts).map_err(|error| Failure::BadAnswer(error.to_string()))
}

/// Whether a text can be the media type of a result: a word on one line.
fn is_media_type(text: &str) -> bool {
    text.len() <= 128 && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn length(part: &Part) -> usize {
    let texts = [&part.text, &part.raw, &part.url];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let data = part.data.as_ref().map_or(0, |data| data.to_string().len());
    texts + data + part.filename.len() + part.media_type.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn artifacts(all: &[(&str, Value, bool)], limit: usize) -> Result<Option<TaskOutput>, Failure> {
        let mut artifacts = Artifacts::new(limit);
        for (id, parts, append) in all {
            let artifact = json!({ "artifactId": id, "parts": parts });
            artifacts.take(serde_json::from_value(artifact).unwrap(), *append)?;
        }
        artifacts.output()
    }

    fn found(all: &[(&str, Value, bool)]) -> (String, String) {
        let output = artifacts(all, 1000).unwrap().unwrap();
        (output.text, output.media_type.unwrap())
    }

    #[test]
    fn texts_are_joined_and_a_value_is_itself() {
        let plain = "text/plain; charset=utf-8";
        for (all, text, kind) in [
            (vec![("a", json!([{ "text": "x" }]), false)], "x", plain),
            (
                vec![
                    ("a", json!([{ "text": "x" }]), false),
                    ("a", json!([{ "text": "y" }, { "text": "z" }]), true),
                    ("b", json!([{ "text": "!" }]), true),
                ],
                "xyz\n\n!",
                plain,
            ),
            (
                vec![
                    ("a", json!([{ "text": "old" }]), false),
                    (
                        "a",
                        json!([{ "text": "# new", "mediaType": "text/markdown" }]),
                        false,
                    ),
                ],
                "# new",
                "text/markdown",
            ),
            (
                vec![("a", json!([{ "data": { "b": [1] } }]), false)],
                r#"{"b":[1]}"#,
                "application/json",
            ),
            (
                vec![("a", json!([{ "text": "x" }, { "url": "https://h" }]), false)],
                r#"[{"text":"x"},{"url":"https://h"}]"#,
                "application/json",
            ),
            (
                vec![("a", json!([{ "raw": "eA==", "filename": "f" }]), false)],
                r#"[{"raw":"eA==","filename":"f"}]"#,
                "application/json",
            ),
        ] {
            assert_eq!(found(&all), (text.to_owned(), kind.to_owned()));
        }
        assert!(artifacts(&[], 1).unwrap().is_none());
        assert!(artifacts(&[("a", json!([]), false)], 1).unwrap().is_none());
        let odd = artifacts(
            &[("a", json!([{ "text": "x", "mediaType": "a\nb" }]), false)],
            9,
        );
        assert_eq!(odd.unwrap().unwrap().media_type, None);
    }

    #[test]
    fn a_result_is_bounded_however_it_comes() {
        let one = ("a", json!([{ "text": "x".repeat(100) }]), false);
        assert!(artifacts(std::slice::from_ref(&one), 100).is_ok());
        assert!(matches!(artifacts(&[one], 99), Err(Failure::TooLong(99))));
        let many = vec![("a", json!([{}]), true); 2000];
        assert!(matches!(artifacts(&many, 99), Err(Failure::TooLong(99))));
    }
}
