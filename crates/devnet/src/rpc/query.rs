//! Query parameters, with FastAPI's 422 if one is missing or not a number.

use std::collections::HashMap;

use actix_web::{HttpRequest, web};

use super::answer::{self, Early};

/// The parameters of a request.
#[derive(Debug)]
pub(crate) struct Parameters(HashMap<String, String>);

impl Parameters {
    /// Reads a request's query. A parameter that cannot be decoded counts as absent.
    pub(crate) fn of(request: &HttpRequest) -> Parameters {
        Parameters(
            web::Query::<HashMap<String, String>>::from_query(request.query_string())
                .map(web::Query::into_inner)
                .unwrap_or_default(),
        )
    }

    /// A parameter's text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// An integer, or the default if the parameter is absent.
    pub(crate) fn integer(&self, name: &str, default: Option<i64>) -> Result<i64, Early> {
        match (self.text(name), default) {
            (Some(text), _) => text.trim().parse().map_err(|_| {
                let message =
                    "Input should be a valid integer, unable to parse string as an integer";
                answer::unprocessable("int_parsing", ["query", name], message).into()
            }),
            (None, Some(default)) => Ok(default),
            (None, None) => {
                Err(answer::unprocessable("missing", ["query", name], "Field required").into())
            }
        }
    }

    /// A boolean as FastAPI reads it.
    pub(crate) fn boolean(&self, name: &str, default: bool) -> Result<bool, Early> {
        match self.text(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("true" | "1" | "yes" | "on" | "t" | "y") => Ok(true),
            Some("false" | "0" | "no" | "off" | "f" | "n") => Ok(false),
            Some(_) => {
                let message = "Input should be a valid boolean, unable to interpret input";
                Err(answer::unprocessable("bool_parsing", ["query", name], message).into())
            }
        }
    }
}
