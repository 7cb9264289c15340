//! Writing JSON answers as text: stored JSON is copied verbatim, neither parsed nor changed, so
//! numbers of any size and payloads of any depth are preserved.

use std::fmt::Write as _;

/// A JSON object under construction.
#[derive(Debug)]
pub(crate) struct ObjectText(String);

impl ObjectText {
    /// An empty object.
    pub(crate) fn new() -> ObjectText {
        ObjectText(String::from("{"))
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(key));
        self.0.push(':');
    }

    /// Adds a value that is already JSON.
    pub(crate) fn raw(mut self, key: &str, json: &str) -> ObjectText {
        self.key(key);
        self.0.push_str(json);
        self
    }

    /// Adds a string.
    pub(crate) fn string(self, key: &str, value: &str) -> ObjectText {
        let value = quoted(value);
        self.raw(key, &value)
    }

    /// Adds a string, or null.
    pub(crate) fn optional(self, key: &str, value: Option<&str>) -> ObjectText {
        match value {
            Some(value) => self.string(key, value),
            None => self.raw(key, "null"),
        }
    }

    /// Adds an integer or a boolean: anything that prints as JSON.
    pub(crate) fn plain(mut self, key: &str, value: impl std::fmt::Display) -> ObjectText {
        self.key(key);
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value}");
        self
    }

    /// Adds a list of values that are already JSON.
    pub(crate) fn list<S: AsRef<str>>(
        mut self,
        key: &str,
        items: impl IntoIterator<Item = S>,
    ) -> ObjectText {
        self.key(key);
        self.0.push('[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            self.0.push_str(item.as_ref());
        }
        self.0.push(']');
        self
    }

    /// The finished text.
    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A canonical JSON object with one more member at its end. `object` must be the text of an
/// object, as stored forms are.
pub(crate) fn with_member(object: &str, key: &str, json: &str) -> String {
    let body = object.trim_end().strip_suffix('}').unwrap_or(object);
    let comma = if body.trim_end().ends_with('{') {
        ""
    } else {
        ","
    };
    format!("{body}{comma}{}:{json}}}", quoted(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_json() {
        let text = ObjectText::new()
            .string("name", "a \"quoted\" é \u{1}")
            .optional("nothing", None)
            .plain("n", 7)
            .raw("big", "123456789012345678901234567890")
            .list("list", ["1", "{}"])
            .end();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["name"], "a \"quoted\" é \u{1}");
        assert!(value["nothing"].is_null());
        assert_eq!(value["list"][0], 1);
        assert!(text.contains("123456789012345678901234567890"));
    }

    #[test]
    fn a_member_is_added_to_full_and_empty_objects() {
        assert_eq!(with_member("{}", "a", "1"), "{\"a\":1}");
        assert_eq!(with_member("{\"b\":{}}", "a", "1"), "{\"b\":{},\"a\":1}");
    }
}
