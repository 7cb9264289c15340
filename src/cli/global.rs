//! Options and context that every command shares.

use std::path::PathBuf;

use agentry_sdk::Registry;
use clap::Args;

use super::failure::Failure;
use super::output::Output;
use crate::config::{Config, Overlay, Source};

/// Options that every command accepts.
#[derive(Clone, Debug, Default, Args)]
pub struct GlobalArgs {
    /// The configuration file [default: agents.toml here, else the built-in one]
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "AGENTRY_CONFIG"
    )]
    pub config: Option<PathBuf>,
    /// Sets a configuration value for this run, such as chain.rpc=http://127.0.0.1:8006
    #[arg(long = "set", global = true, value_name = "TABLE.KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// Prints JSON: one object on one line
    #[arg(long, global = true)]
    pub json: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("there is no `=`; write TABLE.KEY=VALUE".to_owned())?;
    if !key.contains('.') {
        return Err(format!(
            "{key:?} names no table; write TABLE.KEY=VALUE, such as chain.{key}={value}"
        ));
    }
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// The context in which a command runs.
#[derive(Debug)]
pub struct Context {
    /// The options that every command accepts.
    pub global: GlobalArgs,
    /// The kinds of behaviours that this binary knows.
    pub registry: Registry,
    /// Standard output.
    pub output: Output,
}

impl Context {
    /// Creates a context.
    pub fn new(global: GlobalArgs, registry: Registry) -> Self {
        let output = Output::new(global.json);
        Self {
            global,
            registry,
            output,
        }
    }

    /// The effective configuration: defaults, file, environment, flags.
    ///
    /// # Errors
    /// The file cannot be read, or the configuration has errors.
    pub fn config(&self) -> Result<Config, Failure> {
        let (source, overlay) = self.layers();
        Ok(Config::load(&source, &overlay, &self.registry)?)
    }

    /// The sources that the configuration is read from.
    pub fn layers(&self) -> (Source, Overlay) {
        let source = self
            .global
            .config
            .clone()
            .map_or(Source::Customary, Source::File);
        let overlay = Overlay {
            environment: None,
            flags: self.global.set.clone(),
        };
        (source, overlay)
    }
}
