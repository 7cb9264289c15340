//! JSON Schemas of the door's types that hosts understand: without references, without formats of
//! their own, and arguments without null.

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of the arguments of a tool.
pub(super) fn input<T: JsonSchema>() -> JsonObject {
    let mut schema = root::<T>(SchemaSettings::draft2020_12().for_deserialize());
    // An argument that is not given is understood better than one that may be null.
    properties_without_null(&mut schema);
    schema
}

/// The schema of the result of a tool.
pub(super) fn output<T: JsonSchema>() -> JsonObject {
    root::<T>(SchemaSettings::draft2020_12().for_serialize())
}

fn root<T: JsonSchema>(settings: SchemaSettings) -> JsonObject {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut schema = schema.as_object().cloned().unwrap_or_default();
    // The tool has both.
    schema.remove("title");
    schema.remove("description");
    schema.values_mut().for_each(tidy);
    schema
}

/// Removes formats of numbers, which JSON Schema does not define, and the line breaks of
/// descriptions.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let is_number = |format: &Value| {
                let format = format.as_str();
                format.is_some_and(|format| {
                    ["int", "uint", "float", "double"]
                        .iter()
                        .any(|one| format.starts_with(one))
                })
            };
            if object.get("format").is_some_and(is_number) {
                object.remove("format");
            }
            if let Some(Value::String(description)) = object.get_mut("description") {
                *description = description.replace('\n', " ");
            }
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn properties_without_null(schema: &mut JsonObject) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(without_null);
    }
}

/// Removes the alternative that an argument is null.
fn without_null(schema: &mut Value) {
    let Value::Object(schema) = schema else {
        return;
    };
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|one| !one.is_null());
    }
    let null = serde_json::json!({"type": "null"});
    if let Some(Value::Array(alternatives)) = schema.get_mut("anyOf") {
        alternatives.retain(|one| *one != null);
        if let [Value::Object(one)] = alternatives.as_slice() {
            let one = one.clone();
            schema.remove("anyOf");
            for (key, value) in one {
                schema.entry(key).or_insert(value);
            }
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    properties_without_null(schema);
}

#[cfg(test)]
mod tests {
    use super::super::super::door::send::{SendMessage, SentMessage};
    use super::*;

    #[test]
    fn arguments_have_one_type_and_nothing_refers_elsewhere() {
        let schema = input::<SendMessage>();
        let text = serde_json::to_string(&schema).unwrap();
        for foreign in ["$ref", "$defs", "uint", "\"null\"", "$schema"] {
            assert!(!text.contains(foreign), "{foreign}: {text}");
        }
        assert_eq!(schema["properties"]["text"]["type"], "string");
        assert_eq!(schema["properties"]["ack"]["type"], "object");
        assert_eq!(schema["required"], serde_json::json!(["to"]));
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn a_result_may_hold_null() {
        let schema = output::<SentMessage>();
        let types = &schema["properties"]["transaction"]["type"];
        assert_eq!(*types, serde_json::json!(["string", "null"]));
    }
}
