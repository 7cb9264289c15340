//! The documented form of the `--json` output, read from its page.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

/// One section of the page.
#[derive(Debug, Default)]
pub(crate) struct Form {
    /// Fields by name, each with its type.
    pub(crate) fields: BTreeMap<String, String>,
    /// Alternative objects.
    one_of: Vec<String>,
}

/// All sections: commands by their words, objects by their names.
pub(crate) fn forms() -> &'static BTreeMap<String, Form> {
    static FORMS: OnceLock<BTreeMap<String, Form>> = OnceLock::new();
    FORMS.get_or_init(|| {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
        read(&std::fs::read_to_string(page).unwrap())
    })
}

fn read(page: &str) -> BTreeMap<String, Form> {
    let mut forms: BTreeMap<String, Form> = BTreeMap::new();
    let mut heading = String::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            heading = title.trim_matches('`').to_owned();
            let twice = forms.insert(heading.clone(), Form::default());
            assert!(twice.is_none(), "{heading} is there twice");
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let (name, holds) = (cells[0].trim_end_matches('`'), plain(cells[1]));
            let form = forms.get_mut(&heading).unwrap();
            form.fields.insert(name.to_owned(), holds);
        } else if !heading.is_empty() && line.contains("](#") {
            let linked = line
                .split('[')
                .skip(1)
                .filter_map(|rest| rest.split(']').next());
            let linked: Vec<String> = linked.map(str::to_owned).collect();
            if line.starts_with("As a [") {
                let more = forms[&linked[0]].fields.clone();
                forms.get_mut(&heading).unwrap().fields.extend(more);
            } else {
                forms.get_mut(&heading).unwrap().one_of.extend(linked);
            }
        }
    }
    forms
}

/// The text of a cell without its links.
fn plain(cell: &str) -> String {
    let mut text = String::new();
    for part in cell.split('[') {
        match part.split_once("](#") {
            Some((name, rest)) => {
                text.push_str(name);
                text.push_str(rest.split_once(')').map_or("", |(_, end)| end));
            }
            None => text.push_str(part),
        }
    }
    text
}

/// The section of a command line: the one that matches the most words.
pub(crate) fn section(arguments: &[&str]) -> Option<&'static str> {
    let is_in = |heading: &str| {
        let (flags, words): (Vec<&str>, Vec<&str>) = heading
            .split(' ')
            .skip(1)
            .partition(|word| word.starts_with("--"));
        arguments.windows(words.len()).any(|window| window == words)
            && flags.iter().all(|flag| arguments.contains(flag))
    };
    forms()
        .keys()
        .filter(|heading| heading.starts_with("agentry ") && is_in(heading))
        .max_by_key(|heading| heading.len())
        .map(String::as_str)
}

/// Checks the output of a command against its section.
pub(crate) fn check(arguments: &[&str], printed: &Value) {
    let heading =
        section(arguments).unwrap_or_else(|| panic!("docs/json.md has nothing on {arguments:?}"));
    // With `--count` and `--wait` the output has another form, which the page describes in prose.
    let has = |flag| arguments.contains(&flag);
    let fitting = match heading {
        "agentry task submit" if has("--wait") => fits("job", printed),
        "agentry wallet create" if has("--count") => is("list of wallet", &printed["wallets"]),
        _ => fits(heading, printed),
    };
    if let Err(wrong) = fitting {
        panic!("{arguments:?}: {wrong}: docs/json.md, {heading}: {printed:#}");
    }
}

/// Checks a value against a section, or against one of its alternatives.
pub(crate) fn fits(section: &str, value: &Value) -> Result<(), String> {
    let form = forms()
        .get(section)
        .unwrap_or_else(|| panic!("docs/json.md has no section {section:?}"));
    if form.fields.is_empty() {
        let tried: Vec<Result<(), String>> =
            form.one_of.iter().map(|other| fits(other, value)).collect();
        return match tried.iter().any(Result::is_ok) {
            true => Ok(()),
            false => Err(format!("it is none of {:?}: {tried:?}", form.one_of)),
        };
    }
    let object = value
        .as_object()
        .ok_or_else(|| format!("{section}: it is no object"))?;
    for name in object.keys() {
        if !form.fields.contains_key(name) && !form.fields.contains_key(&format!("{name}?")) {
            return Err(format!("{section}: {name} is not on the page"));
        }
    }
    for (name, holds) in &form.fields {
        match (
            name.strip_suffix('?'),
            object.get(name.trim_end_matches('?')),
        ) {
            (Some(_), None) => {}
            (None, None) => return Err(format!("{section}: {name} is missing")),
            (_, Some(value)) => is(holds, value)
                .map_err(|wrong| format!("{section}: {name} holds {holds}: {wrong}"))?,
        }
    }
    Ok(())
}

fn is(holds: &str, value: &Value) -> Result<(), String> {
    if let Some(holds) = holds.strip_suffix(" or null") {
        return if value.is_null() {
            Ok(())
        } else {
            is(holds, value)
        };
    }
    let good = match holds {
        "JSON" => true,
        "text" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "time" => value.is_u64(),
        "number" | "AIT" => value.is_number(),
        _ => {
            return match (
                holds.strip_prefix("list of "),
                holds.strip_prefix("map of "),
            ) {
                (Some(inner), _) => {
                    let list = value.as_array().ok_or("it is no list")?;
                    list.iter().try_for_each(|one| is(inner, one))
                }
                (_, Some(inner)) => {
                    let map = value.as_object().ok_or("it is no object")?;
                    map.values()
                        .try_for_each(|one| is(&format!("{inner} or null"), one))
                }
                _ => fits(holds, value),
            };
        }
    };
    if good {
        Ok(())
    } else {
        Err(format!("it is {value}"))
    }
}
