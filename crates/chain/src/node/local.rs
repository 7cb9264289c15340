//! A node within this process.

use reqwest::{Response, StatusCode};

/// A node that is asked by a call in place of an HTTP exchange, such as one that stands for a real
/// node where the cost of HTTP must not be measured.
pub trait LocalNode: Send + Sync {
    /// Answers a request with a status and a body. `path` begins with a slash, and holds the query.
    /// A request with a body is a POST, the others are GETs.
    ///
    /// It is called on a thread that runs other futures, too: it must not block.
    fn answer(&self, path: &str, body: Option<&str>) -> (StatusCode, Vec<u8>);
}

/// A local node's answer as one that came over HTTP, so that everything after it is the same.
pub(super) fn response(node: &dyn LocalNode, path: &str, body: Option<&str>) -> Response {
    let (status, bytes) = node.answer(path, body);
    let mut response = http::Response::new(bytes);
    *response.status_mut() = status;
    Response::from(response)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::node::{NodeClient, NodeError, NodeOptions, SubmitError};

    struct Echo;

    impl LocalNode for Echo {
        fn answer(&self, path: &str, body: Option<&str>) -> (StatusCode, Vec<u8>) {
            match body {
                Some(body) => (StatusCode::BAD_REQUEST, body.into()),
                None => (StatusCode::OK, vec![b' '; path.len() * 100]),
            }
        }
    }

    #[tokio::test]
    async fn its_answers_are_read_like_those_of_another_node() {
        let options = NodeOptions {
            max_body_bytes: 500,
            ..NodeOptions::default()
        };
        let client = NodeClient::local("the echo", Arc::new(Echo), options);
        let SubmitError::Rejected {
            status: 400,
            detail,
            ..
        } = client.submit("no money").await.unwrap_err()
        else {
            panic!("it was not refused");
        };
        assert_eq!(detail, "no money");
        let error = client.health().await.unwrap_err();
        assert!(
            matches!(error, NodeError::TooLarge { limit: 500, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("the echo"), "{error}");
    }
}
