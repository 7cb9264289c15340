//! The agents.toml of this package is valid for its binary.

use std::path::Path;

use agentry::config::{Config, Overlay, Source};

#[test]
fn it_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let registry = agentry::builtins().with::<own_behaviour::Reminder>();
    let overlay = Overlay {
        environment: Some(std::collections::HashMap::new()),
        ..Overlay::default()
    };
    let loaded = Config::load(&Source::Text { path, text }, &overlay, &registry);
    if let Err(error) = loaded {
        panic!("{error}");
    }
}
