//! TLS to the database: rustls, with the certificates of this machine or of a file.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::ClusterError;
use crate::settings::may_use_tls;

/// Makes the TLS of each connection.
pub(crate) type Tls = MakeRustlsConnect;

/// The TLS for connections of these modes.
///
/// # Errors
/// The root certificates cannot be read.
pub(crate) fn make(modes: Vec<SslMode>, root: Option<&Path>) -> Result<Tls, ClusterError> {
    let is_required = modes.contains(&SslMode::Require);
    let is_used = modes.into_iter().any(may_use_tls);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| of_machine(&error))?;
    let config = match root {
        Some(path) => builder.with_root_certificates(of_file(path)?),
        // The machine's certificates take some milliseconds to read.
        None if !is_used => builder.with_root_certificates(RootCertStore::empty()),
        None => match builder.clone().with_platform_verifier() {
            Ok(builder) => builder,
            Err(error) if is_required => return Err(of_machine(&error)),
            // A machine without certificates can use servers without TLS; no other is trusted.
            Err(_) => builder.with_root_certificates(RootCertStore::empty()),
        },
    };
    Ok(Tls::new(config.with_no_client_auth()))
}

fn of_machine(error: &rustls::Error) -> ClusterError {
    ClusterError::RootCertificate {
        from: "this machine".to_owned(),
        why: error.to_string(),
    }
}

fn of_file(path: &Path) -> Result<RootCertStore, ClusterError> {
    let wrong = |why: String| ClusterError::RootCertificate {
        from: path.display().to_string(),
        why,
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path);
    for certificate in certificates.map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong(
            "it has no certificate: give a file in PEM".to_owned(),
        ));
    }
    Ok(roots)
}
