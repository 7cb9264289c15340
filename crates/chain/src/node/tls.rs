//! Why a TLS handshake failed, and the suggested fix.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// Why a TLS handshake failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The reason.
    pub(super) reason: String,
    /// The suggested fix.
    pub(super) fix: &'static str,
}

const TRUST: &str = "add its authority's certificate to this machine's trusted ones, or name a file with it in the variable SSL_CERT_FILE";
const NAME: &str = "write the host in the URL as the certificate names it";
const RENEW: &str = "have the certificate renewed, or set this machine's clock";
const PLAIN: &str =
    "the port may not speak TLS: write http:// if that is intended, or give the port that does";
const CERTIFICATE: &str = "have the node's operator look at its certificate";

/// Finds a TLS error among the causes of an error.
pub(super) fn trouble(error: &(dyn Error + 'static)) -> Option<Trouble> {
    let mut cause = Some(error);
    // Causes nest a few levels deep; the bound keeps the loop finite.
    for _ in 0..16 {
        let error = cause?;
        if let Some(found) = of_tls(error) {
            return Some(describe(found));
        }
        cause = error.source();
    }
    None
}

fn of_tls<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    // An I/O error can wrap another error, and `source` then skips the wrapped one.
    for _ in 0..16 {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        error = error.downcast_ref::<io::Error>()?.get_ref()?;
    }
    None
}

fn describe(error: &rustls::Error) -> Trouble {
    let (reason, fix) = match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::UnknownIssuer => (
                "its certificate is not signed by an authority that this machine trusts",
                TRUST,
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ("its certificate is for another name", NAME)
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ("its certificate has expired", RENEW)
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ("its certificate is not valid yet", RENEW)
            }
            _ => ("its certificate is not accepted", CERTIFICATE),
        },
        rustls::Error::InvalidMessage(_) => ("its answer is not TLS", PLAIN),
        _ => ("TLS cannot be set up with it", CERTIFICATE),
    };
    Trouble {
        reason: format!("{reason} ({error})"),
        fix,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, Stream};

    use crate::node::{NodeClient, NodeError, NodeOptions};

    /// The port of a server that answers each connection this way until the test ends.
    fn serve(answer: impl Fn(std::net::TcpStream) + Send + 'static) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
        port
    }

    async fn asked(url: String) -> NodeError {
        let node = NodeClient::new(&url, NodeOptions::default()).unwrap();
        let error = node.head().await.unwrap_err();
        assert!(error.is_connect(), "nothing was sent: {error}");
        error
    }

    #[tokio::test]
    async fn an_untrusted_certificate_is_no_node_that_does_not_run() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let certificate = include_bytes!("../../tests/self_signed/certificate.der");
        let key = include_bytes!("../../tests/self_signed/key.der");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(&certificate[..])],
                PrivatePkcs8KeyDer::from(&key[..]).into(),
            )
            .unwrap();
        let config = Arc::new(config);
        let port = serve(move |mut tcp| {
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            // The client hangs up: that is what is tested.
            drop(Stream::new(&mut tls, &mut tcp).read(&mut [0; 16]));
        });
        let error = asked(format!("https://localhost:{port}")).await;
        let text = error.to_string();
        // It signed itself, as an authority does.
        assert!(text.contains("its certificate is not accepted"), "{text}");
        assert!(text.contains("look at its certificate"), "{text}");
        assert!(!text.contains("running"), "{text}");
        assert!(matches!(error, NodeError::Tls { .. }));
    }

    #[tokio::test]
    async fn a_port_without_tls_is_reported() {
        let port = serve(|mut tcp| {
            drop(tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
            drop(tcp.read(&mut [0; 1024]));
        });
        let text = asked(format!("https://localhost:{port}")).await.to_string();
        assert!(text.contains("write http://"), "{text}");
    }

    #[tokio::test]
    async fn who_refuses_connections_may_not_run() {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let text = asked(format!("https://127.0.0.1:{port}")).await.to_string();
        assert!(text.contains("is the node running?"), "{text}");
    }
}
